package compartment

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
	"bulkhead/sandbox/landlock"
)

// What a component may only read it cannot truncate in any way, by its filter and
// its Landlock alone, for root and for the file's owner: the mount here is writable.
func TestNothingReadIsTruncated(t *testing.T) {
	users := []int{os.Getuid()}
	if users[0] == 0 {
		users = append(users, 65534)
	}
	for name, calls := range map[string]string{"Landlock": "[]", "filter": "[{deny: [truncate, openat2]}]", "filter in part": "[{deny: [truncate, openat2]}, openat]"} {
		for _, user := range users {
			t.Run(name+" "+strconv.Itoa(user), func(t *testing.T) {
				switch abi := landlock.ABI(); {
				case abi == 0:
					t.Skip("this kernel has no Landlock, which refuses to open for writing here")
				case abi < 3 && name != "filter":
					t.Skip("Landlock knows of truncating from Linux 6.2 on")
				}
				file := filepath.Join(reachable(t), "kept")
				if err := os.WriteFile(file, []byte("contents"), 0o666); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(file, user, -1); err != nil {
					t.Fatal(err)
				}
				command := exec.Command("/proc/self/exe", "-test.run", "^TestTruncater$", "-test.v")
				command.Env = append(os.Environ(), "TRUNCATE="+file, "CALLS="+calls, "AS="+strconv.Itoa(user))
				said, err := command.CombinedOutput()
				if err != nil || !strings.Contains(string(said), "tried 63 ways") {
					t.Errorf("%v: %s", err, said)
				}
			})
		}
	}
}

// TestTruncater is the program of TestNothingReadIsTruncated.
func TestTruncater(t *testing.T) {
	file := os.Getenv("TRUNCATE")
	if file == "" {
		t.Skip("TestNothingReadIsTruncated executes it")
	}
	loaded, err := policy.Parse("p.yaml", []byte("application: test\ncomponents: {it: {command: [/bin/true], syscalls: "+os.Getenv("CALLS")+"}}\n"), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := policy.Compile(loaded, policy.LocalHost())
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.CompileFilters(p); err != nil {
		t.Fatal(err)
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, file, 0)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // its walls are the thread's
	user, err := strconv.Atoi(os.Getenv("AS"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)); errno != 0 {
		t.Fatal(errno)
	}
	readOnly(t, filepath.Dir(file), &p.Components[0])

	ways := 0
	try := func(way string, call func() error) {
		ways++
		err := call()
		var now unix.Stat_t
		if unix.Stat(file, &now) != nil || now.Size != int64(len("contents")) {
			t.Fatalf("%s truncated it: %v", way, err)
		}
	}
	name := append([]byte(file), 0)
	path := uintptr(unsafe.Pointer(&name[0]))
	here := unix.AT_FDCWD
	open := func(call uintptr, arguments ...uintptr) func() error {
		return func() error {
			a := append(arguments, 0, 0, 0)
			fd, _, errno := unix.Syscall6(call, a[0], a[1], a[2], a[3], 0, 0)
			if errno != 0 {
				return errno
			}
			defer unix.Close(int(fd))
			return unix.Ftruncate(int(fd), 0)
		}
	}
	reading, err := unix.Open(file, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	handed, err := unix.Open(file, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	again := append([]byte("/proc/self/fd/"+strconv.Itoa(reading)), 0)
	through := uintptr(unsafe.Pointer(&again[0]))
	for mode := range uintptr(4) {
		for _, more := range []uintptr{unix.O_TRUNC, unix.O_TRUNC | unix.O_CREAT, unix.O_TRUNC | unix.O_NONBLOCK, unix.O_TRUNC | 1<<40, unix.O_TRUNC | unix.O_PATH, 0} {
			flags := mode | more
			try("open", open(unix.SYS_OPEN, path, flags, 0o666))
			try("openat", open(unix.SYS_OPENAT, uintptr(here), path, flags, 0o666))
		}
		flags := mode | unix.O_TRUNC
		how := &unix.OpenHow{Flags: uint64(flags)}
		try("openat2", open(unix.SYS_OPENAT2, uintptr(here), path, uintptr(unsafe.Pointer(how)), unix.SizeofOpenHow))
		try("openat of an open one", open(unix.SYS_OPENAT, uintptr(here), through, flags))
	}
	try("open_by_handle_at", func() error {
		fd, err := unix.OpenByHandleAt(reading, handle, unix.O_TRUNC)
		unix.Close(fd)
		return err
	})
	try("creat", open(unix.SYS_CREAT, path, 0o666))
	try("truncate", func() error { return unix.Truncate(file, 0) })
	try("truncate an open one", func() error { return unix.Truncate("/proc/self/fd/"+strconv.Itoa(reading), 0) })
	try("ftruncate", func() error { return unix.Ftruncate(reading, 0) })
	try("ftruncate by O_PATH", func() error { return unix.Ftruncate(handed, 0) })
	try("fallocate", func() error {
		return unix.Fallocate(reading, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 8)
	})
	runtime.KeepAlive(name)
	t.Logf("tried %d ways", ways)
}

// readOnly puts the calling thread behind the component's filter, and behind its
// Landlock with one rule: the directory may be read.
func readOnly(t *testing.T, directory string, c *plan.Component) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := landlock.New(landlock.ABI(), c)
	ruleset := unix.LandlockRulesetAttr{Handled_access_fs: r.Files, Handled_access_net: r.Network, Scoped: r.Scoped}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&ruleset)), uintptr(r.Size), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, path := range []string{directory, "/proc"} {
		at, err := unix.Open(path, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		rule := unix.LandlockPathBeneathAttr{Allowed_access: r.Access(plan.Read, true), Parent_fd: int32(at)}
		if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	program := c.Syscalls.Program
	filter := unix.SockFprog{Len: uint16(len(program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	// What it refuses is told to nobody here, and fails with ENOSYS.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		t.Fatal(errno)
	}
}
