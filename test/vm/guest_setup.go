package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

// The ordinary user of --user.
const (
	testerID      = 1000
	testerRuntime = "/run/user/1000"
)

const cgroupRoot = "/sys/fs/cgroup"

// makeRootMovable covers the initramfs with itself. pivot_root(2) refuses to move the root of
// the mount tree, which is what an initramfs is, and every sandbox starts with pivot_root.
func makeRootMovable() error {
	if err := syscall.Mount("/", guestRoot, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind / to %s: %w", guestRoot, err)
	}
	if err := os.Chdir(guestRoot); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", guestRoot, err)
	}
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// mounts are what a distribution's init mounts, in this order.
var mounts = []struct {
	kind, at string
	flags    uintptr
	data     string
}{
	{"proc", "/proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
	{"sysfs", "/sys", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
	{"devtmpfs", "/dev", syscall.MS_NOSUID, "mode=755"},
	{"devpts", "/dev/pts", syscall.MS_NOSUID | syscall.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
	{"tmpfs", "/dev/shm", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
	{"mqueue", "/dev/mqueue", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
	{"tmpfs", "/tmp", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
	{"tmpfs", "/run", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755"},
	{"securityfs", "/sys/kernel/security", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, ""},
	{"bpf", "/sys/fs/bpf", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, "mode=700"},
	{"cgroup2", cgroupRoot, syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC, "nsdelegate,memory_recursiveprot"},
}

func mountAll() error {
	for _, m := range mounts {
		if strings.HasPrefix(m.at, "/dev/") {
			if err := os.MkdirAll(m.at, 0o755); err != nil {
				return err
			}
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	// As systemd leaves it: code that forgets to make its mounts private must fail here too.
	return syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, "")
}

func loadModule(file string) error {
	module, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	none := []byte{0}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&module[0])), uintptr(len(module)), uintptr(unsafe.Pointer(&none[0])))
	if errno != 0 && errno != syscall.EEXIST { // the kernel may have loaded it meanwhile
		return fmt.Errorf("load module %s: %w", filepath.Base(file), errno)
	}
	return nil
}

// prepare makes the rest of the machine and returns the cgroup in which the command starts.
func prepare(user bool) (*os.File, error) {
	for link, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+link); err != nil {
			return nil, err
		}
	}
	if err := syscall.Sethostname([]byte("vm")); err != nil {
		return nil, fmt.Errorf("set the host name: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	// systemd's limits of open files; Go would leave its own raised ones to the command.
	limit := syscall.Rlimit{Cur: 1024, Max: 524288}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit open files: %w", err)
	}
	if err := enableControllers(cgroupRoot); err != nil {
		return nil, err
	}
	if user {
		return prepareTester()
	}
	// A leaf and not the root, because the root is exempt from the rule that a cgroup with
	// processes in it cannot enable controllers, and on a real system nobody is in the root.
	leaf := cgroupRoot + "/session"
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return nil, err
	}
	return os.Open(leaf)
}

// prepareTester makes the user's runtime directory and delegated cgroup. The command starts in
// a leaf below it that the user owns too: so it can move itself and then enable controllers above.
func prepareTester() (*os.File, error) {
	if err := os.MkdirAll(testerRuntime, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(testerRuntime, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chown(testerRuntime, testerID, testerID); err != nil {
		return nil, err
	}
	users := cgroupRoot + "/user"
	if err := os.Mkdir(users, 0o755); err != nil {
		return nil, err
	}
	if err := enableControllers(users); err != nil {
		return nil, err
	}
	delegated := users + "/tester"
	leaf := delegated + "/session"
	for _, dir := range []string{delegated, leaf} {
		if err := delegate(dir); err != nil {
			return nil, err
		}
	}
	return os.Open(leaf)
}

// enableControllers makes all that Bulkhead limits available to the children of a cgroup.
func enableControllers(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +io +memory +pids +cpuset"), 0)
}

// delegate makes a cgroup and gives it to the user as cgroups(7) describes: its tree, but not
// its own limits.
func delegate(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(dir, name), testerID, testerID); err != nil {
			return err
		}
	}
	return nil
}

// loopbackUp sets the interface up; the kernel gives it its addresses by itself.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	// struct ifreq, netdevice(7)
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{name: [syscall.IFNAMSIZ]byte{'l', 'o'}, flags: syscall.IFF_UP}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("set lo up: %w", errno)
	}
	return nil
}
