package injector

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
)

// Errors are the calls that can be made fail, by key, and what each fails with:
// errors that the kernel has for it, whatever the arguments are. Not among them:
// close, which closes also when it fails; what tells Go's threads of each other
// (futex, eventfd); calls whose error says that somebody else is gone.
var Errors = map[string]unix.Errno{
	"accept4": unix.EMFILE, "bind": unix.ENOMEM, "connect": unix.EAGAIN, "fcntl:dup": unix.EMFILE, "epoll_create1": unix.EMFILE,
	"epoll_ctl:add": unix.ENOMEM, "epoll_pwait": unix.EINTR, "epoll_wait": unix.EINTR, "fchmod": unix.EIO, "fchmodat": unix.EIO, "fchown": unix.EIO,
	"fchownat": unix.EIO, "fstat": unix.ENOMEM, "fstatfs": unix.EIO, "fsync": unix.EIO, "ftruncate": unix.EIO, "getdents64": unix.ENOMEM,
	"getsockopt": unix.ENOMEM, "ioctl:addfd": unix.EMFILE, "ioctl:id-valid": unix.EINTR, "ioctl:receive": unix.EINTR, "ioctl:send": unix.EINTR,
	"linkat": unix.ENOSPC, "listen": unix.ENOMEM, "memfd_create": unix.ENOMEM, "mkdirat": unix.ENOSPC, "newfstatat": unix.ENOMEM,
	"openat": unix.EMFILE, "openat2": unix.ENFILE, "pidfd_getfd": unix.EMFILE, "pidfd_open": unix.EMFILE, "pipe2": unix.EMFILE,
	"ppoll": unix.EINTR, "pread64": unix.EIO, "process_vm_readv": unix.ENOMEM, "pwrite64": unix.ENOSPC, "read": unix.EIO, "readlinkat": unix.ENOMEM,
	"recvfrom": unix.ENOMEM, "recvmsg": unix.ENOMEM, "renameat": unix.ENOSPC, "renameat2": unix.ENOSPC, "sendmsg": unix.ENOBUFS, "sendto": unix.ENOBUFS,
	"setresgid": unix.EAGAIN, "setresuid": unix.EAGAIN, "setsockopt": unix.ENOMEM, "socket": unix.EMFILE, "socketpair": unix.EMFILE,
	"statx": unix.ENOMEM, "symlinkat": unix.ENOSPC, "unlinkat": unix.EIO, "utimensat": unix.EIO, "write": unix.ENOSPC,
}

// ioctls are those on a seccomp listener (seccomp_unotify(2)).
var ioctls = map[uint64]string{
	unix.SECCOMP_IOCTL_NOTIF_RECV: "ioctl:receive", unix.SECCOMP_IOCTL_NOTIF_SEND: "ioctl:send",
	0x40082102: "ioctl:id-valid", 0x40182103: "ioctl:addfd",
}

// key names a call, "" for one that is let alone, and says on what it is.
func (c call) key(pid int) (key, detail string) {
	detail = fmt.Sprintf("(%#x, %#x, %#x)", c.arguments[0], c.arguments[1], c.arguments[2])
	switch c.number {
	case unix.SYS_IOCTL:
		return ioctls[c.arguments[1]], detail
	case unix.SYS_EPOLL_CTL:
		if c.arguments[1] == unix.EPOLL_CTL_ADD {
			return "epoll_ctl:add", target(pid, c.arguments[2])
		}
		return "", ""
	case unix.SYS_FCNTL:
		if c.arguments[1] == unix.F_DUPFD_CLOEXEC || c.arguments[1] == unix.F_DUPFD {
			return "fcntl:dup", detail
		}
		return "", ""
	case unix.SYS_READ, unix.SYS_WRITE:
		if detail = target(pid, c.arguments[0]); strings.Contains(detail, "[eventfd]") {
			return "", ""
		}
	}
	name := calls.Name(int(c.number))
	if _, fails := Errors[name]; !fails {
		return "", ""
	}
	return name, detail
}

// target is what a process has open at a number.
func target(pid int, number uint64) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, number))
	return name
}
