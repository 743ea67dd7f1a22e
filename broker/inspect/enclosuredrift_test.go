package inspect

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Verify sees what the monitor's own root has and should not have.
func TestMonitorRootDrift(t *testing.T) {
	directory := openDirectory(t)
	for _, name := range []string{"books", "store", "made"} {
		if err := os.Mkdir(directory+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	application := run(t, fmt.Sprintf(`
grants:
  books: {directory: %[1]s/books}
  store: {directory: %[1]s/store, access: read-write}
  made: {directory: %[1]s/made}
components:
  main: {command: [/bin/sleep, "1000"], grants: [books, store, made]}
`, directory))
	drifts := func() (said []string) {
		r := look(t, application)
		for _, problem := range r.Problems() {
			t.Errorf("not seen: %s", problem)
		}
		for _, d := range r.Drifts() {
			said = append(said, d.String())
		}
		return said
	}
	if said := drifts(); len(said) > 0 {
		t.Fatalf("drift before anything was changed: %q", said)
	}
	r := look(t, application)
	monitor := component(t, r, "monitor").program().PID
	inMountsOf(t, monitor, func() error {
		writable := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		for _, at := range []string{directory + "/books", "/proc/sys", "/"} {
			if err := unix.MountSetattr(unix.AT_FDCWD, at, 0, &writable); err != nil {
				return fmt.Errorf("let %s be written: %w", at, err)
			}
		}
		return unix.Mount("tmpfs", "/sys", "tmpfs", unix.MS_NOSUID, "")
	})
	of := fmt.Sprintf("process %d: ", monitor)
	want := []string{
		of + "root file system: planned read-only, found writable",
		of + "mount /proc/sys: planned read-only, found writable",
		of + "mount /sys: planned nothing there, found tmpfs of tmpfs/ (rw,nosuid,relatime)",
		of + "mount " + directory + "/books: planned read-only, found writable (" + r.Applications[0].plan.Grants[0].Position.File + ":4:3)",
	}
	if said := drifts(); !slices.Equal(said, want) {
		t.Errorf("the drift is\n%q, want\n%q", said, want)
	}
}

// inMountsOf does something in the mount namespace of a process.
func inMountsOf(t *testing.T, pid int, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in that namespace
		namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err == nil {
			defer namespace.Close()
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
