package confine

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// innerPid is the pid of every program in its pid namespace.
const innerPid = 2

// Supervisor is the filter of the supervisor, in the place of the one that its
// policy would give it: that has every call which a component may need. What is
// not here is refused and reported like any component's.
func Supervisor() plan.Syscalls {
	return compile(append(runtime(innerPid), []group{
		// Its one exec comes behind its filter, and nothing else in its root
		// can be executed.
		{"its start", concat(each("execve", "openat", "prlimit64", "fstat", "newfstatat"),
			with("arch_prctl", 0, 0x1002 /* ARCH_SET_FS */), with("prctl", 0, unix.PR_SET_DUMPABLE))},
		{"whether its output is a terminal", with("ioctl", 1, unix.TCGETS)},
		{"how old a log is", with("statx", 2, unix.AT_EMPTY_PATH)},
		{"waiting", concat(each("epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "ppoll"), with("epoll_wait", 3, 0))},
		{"the monitor, clients, output", each("read", "write", "readv", "writev", "close", "fcntl", "pread64", "lseek", "pipe2",
			"sendmsg", "sendto", "recvmsg", "recvfrom", "accept4", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername")},
		{"lines that stay in their pipes until they are written", concat(
			with("tee", 3, unix.SPLICE_F_NONBLOCK), with("splice", 5, unix.SPLICE_F_NONBLOCK))},
		{"an entry for journald that is larger than a packet", each("memfd_create")},
	}...), &plan.Plan{})
}
