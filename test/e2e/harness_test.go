package e2e

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const sleeper = `
application: {{NAME}}
components:
  web:
    command: [{{BUSYBOX}}, sleep, "1000"]
`

// The instrument first: Leftovers sees everything that a running application
// has, so that its silence afterwards means something.
func TestLeftoversSeesWhatRuns(t *testing.T) {
	a := New(t, "harness").Write(`
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
components:
  web:
    command: [{{BUSYBOX}}, sleep, "1000"]
    grants: [door, http]
`).Run().Ready()
	left := strings.Join(a.Leftovers(), "\n")
	for _, kind := range []string{
		"process: monitor", "process: sweeper", "process: keeper", "process: supervisor", "process: compartment's init web",
		"process: worker's init web", "process: program web", "cgroup: ", "state: /run/sandbox/" + a.Name + "/control",
		"socket file: " + a.Dir + "/door", "unix socket: ", "listening port: ",
	} {
		if !strings.Contains(left, kind) {
			t.Errorf("a running application has no %q in:\n%s", kind, left)
		}
	}
	if len(a.seen) < 12 { // user, mnt, pid, ipc, uts, net and cgroup, of two compartments and their workers
		t.Errorf("only %d namespaces were seen: %v", len(a.seen), a.seen)
	}
	// Something that keeps one of them: a descriptor.
	held, err := os.Open("/proc/" + itoa(a.Of(Program, "web")[0].Pid) + "/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if left := strings.Join(a.Leftovers(), "\n"); !strings.Contains(left, "namespace: mnt:[") {
		t.Errorf("a namespace that is held by a descriptor is not seen in:\n%s", left)
	}
	held.Close()
	// And a bind mount.
	place := a.File("place", "")
	if err := unix.Mount("/proc/"+itoa(a.Of(Program, "web")[0].Pid)+"/ns/net", place, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if left := strings.Join(a.Leftovers(), "\n"); !strings.Contains(left, "mount: ") {
		t.Errorf("a mount is not seen in:\n%s", left)
	}
	if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:"+itoa(a.Port())); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}
