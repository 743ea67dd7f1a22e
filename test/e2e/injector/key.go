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

// OfC are calls of the programs in C beside those of Errors, or that fail there with
// something else. Not among them: what cannot fail as it is called there, as
// close_range(2), dup3(2) to a number that is open, and most of prctl(2).
var OfC = map[string][]unix.Errno{
	"access": {unix.ENOMEM}, "bind": {unix.ENOMEM}, "call:split": {unix.ENOMEM, unix.EPERM}, "capset": {unix.ENOMEM}, "chdir": {unix.EIO, unix.ENOMEM},
	"clone": {unix.EAGAIN, unix.ENOMEM}, "clone3": {unix.EAGAIN, unix.ENOMEM}, "connect": {unix.EAGAIN, unix.ENOMEM},
	"dup2": {unix.EMFILE}, "dup3": {}, "execve": {unix.ENOMEM, unix.EIO, unix.EAGAIN}, "flock": {unix.ENOLCK},
	"getdents64": {unix.EIO, unix.ENOMEM}, "keyctl": {unix.ENOMEM, unix.EDQUOT}, "landlock_add_rule": {unix.ENOMEM},
	"landlock_create_ruleset": {unix.ENOMEM, unix.EMFILE}, "landlock_restrict_self": {unix.ENOMEM, unix.E2BIG}, "lstat": {unix.EIO, unix.ENOMEM},
	"mmap": {unix.ENOMEM}, "mount": {unix.ENOMEM, unix.ENOSPC}, "mount_setattr": {unix.ENOMEM}, "open": {unix.EMFILE, unix.ENFILE, unix.ENOMEM},
	"openat": {unix.EMFILE, unix.ENFILE, unix.ENOMEM}, "pidfd_open": {unix.EMFILE, unix.ENOMEM}, "pivot_root": {unix.ENOMEM},
	"poll": {unix.EINTR, unix.ENOMEM}, "prctl:bounding": {unix.ENOMEM}, "prctl:securebits": {unix.ENOMEM}, "prctl:ambient": {unix.ENOMEM},
	"pread64": {unix.EIO}, "read": {unix.EIO, unix.EINTR, unix.ENOMEM}, "recvmsg": {unix.ENOMEM, unix.EINTR, unix.ENOBUFS},
	"rmdir": {unix.EIO, unix.ENOMEM}, "seccomp": {unix.ENOMEM, unix.EINTR}, "sendmsg": {unix.ENOBUFS, unix.EINTR, unix.ENOMEM}, "setgroups": {unix.ENOMEM},
	"setresgid": {unix.EAGAIN, unix.ENOMEM}, "setresuid": {unix.EAGAIN, unix.ENOMEM}, "stat": {unix.ENOMEM}, "umount2": {unix.ENOMEM},
	"unlink": {unix.EIO, unix.ENOMEM}, "unlinkat": {unix.EIO, unix.ENOMEM}, "unshare": {unix.ENOSPC, unix.ENOMEM}, "wait4": {unix.EINTR},
	"write": {unix.ENOMEM, unix.EINTR, unix.EIO},
}

// prctls are operations of prctl(2) that allocate.
var prctls = map[uint64]string{
	unix.PR_CAPBSET_DROP: "prctl:bounding", unix.PR_SET_SECUREBITS: "prctl:securebits", unix.PR_CAP_AMBIENT: "prctl:ambient",
}

// split is the number of the stub's call, which no kernel has.
const split = 16968

// ErrorsOf are the errors that a call can be made fail with, nil for one that
// cannot.
func ErrorsOf(key string) []unix.Errno {
	role, name, ofC := strings.Cut(key, "/")
	if !ofC {
		name = role
	} else if all, known := OfC[name]; known {
		return all
	}
	if errno, can := Errors[name]; can {
		return []unix.Errno{errno}
	}
	return nil
}

// ioctls are those on a seccomp listener (seccomp_unotify(2)).
var ioctls = map[uint64]string{
	unix.SECCOMP_IOCTL_NOTIF_RECV: "ioctl:receive", unix.SECCOMP_IOCTL_NOTIF_SEND: "ioctl:send",
	0x40082102: "ioctl:id-valid", 0x40182103: "ioctl:addfd",
}

// key names a call, "" for one that is let alone, and says on what it is.
func (c call) key(pid int, ofC bool) (key, detail string) {
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
	case unix.SYS_PRCTL:
		return prctls[c.arguments[0]], detail
	case split:
		return "call:split", detail
	case unix.SYS_READ, unix.SYS_WRITE:
		if detail = target(pid, c.arguments[0]); strings.Contains(detail, "[eventfd]") {
			return "", ""
		}
	}
	name := calls.Name(int(c.number))
	if _, fails := Errors[name]; !fails && (!ofC || OfC[name] == nil) {
		return "", ""
	}
	return name, detail
}

// target is what a process has open at a number.
func target(pid int, number uint64) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, number))
	return name
}
