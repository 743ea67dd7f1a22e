package confine

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// call is a system call that the monitor may make.
type call struct {
	name string
	when condition
	only []plan.Condition // what its arguments must be; another line is another way
}

// group is what calls are for.
type group struct {
	why   string
	calls []call
}

func each(names ...string) []call { return eachWhen(nil, names...) }

func eachWhen(when condition, names ...string) []call {
	var all []call
	for _, name := range names {
		all = append(all, call{name: name, when: when})
	}
	return all
}

// with is a call whose argument is one of some values.
func with(name string, argument uint, values ...uint64) []call {
	return withWhen(nil, name, argument, values...)
}

func withWhen(when condition, name string, argument uint, values ...uint64) []call {
	var all []call
	for _, v := range values {
		all = append(all, call{name, when, []plan.Condition{{Argument: argument, Comparison: plan.Equal, Value: v}}})
	}
	return all
}

// without is a call whose argument has none of some bits.
func without(name string, argument uint, bits uint64) []call {
	return []call{{name, nil, []plan.Condition{{Argument: argument, Comparison: plan.MaskedEqual, Mask: bits}}}}
}

// threadFlags are those of clone(2) by which Go starts a thread, and nothing
// else: CLONE_VM, FS, FILES, SIGHAND, SYSVSEM, THREAD, and on this architecture
// SETTLS.
const threadFlags = 0x50f00 | unix.CLONE_SETTLS

// ioctls on a seccomp listener that x/sys does not name (seccomp_unotify(2)).
const (
	notifIDValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	notifAddFD   = 0x40182103 // SECCOMP_IOCTL_NOTIF_ADDFD
	notifFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6
)

// kcmpFile is KCMP_FILE (kcmp(2)): are two descriptors one open file?
const kcmpFile = 0

// table is every call that the monitor may make, once it has started. pid is
// its own. There is no exec and no fork in it, no mount, no ptrace, of bpf no more than two on a map, no
// kill but by pidfd, and no memory that is executed.
func table(pid int) []group {
	return append(runtime(pid), []group{
		{"the loop", each("epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "ppoll")},
		{"descriptors", each("read", "write", "readv", "writev", "close", "fcntl", "pipe2", "lseek", "pread64")},
		{"packets", each("sendmsg", "sendto", "recvmsg", "recvfrom", "socketpair", "shutdown")},
		{"granted sockets", concat(
			with("socket", 0, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6),
			each("bind", "connect", "listen", "accept4", "getsockopt", "setsockopt", "getsockname", "getpeername")),
		},
		{"granted files, cgroups, /proc", each("openat", "openat2", "fstat", "newfstatat", "statx", "getdents64", "readlinkat", "fstatfs",
			"mkdirat", "unlinkat", "renameat", "renameat2", "fchmodat", "fchmod", "fchown", "faccessat")},
		{"granted files of transparent components", eachWhen(files, "fsync", "fdatasync", "pwrite64", "symlinkat", "linkat", "utimensat", "ftruncate", "fchownat", "mknodat", "truncate")},
		{"an append grant's guard", eachWhen(appends, "ftruncate", "fallocate")},
		{"names of grants", concat(
			eachWhen(names, "pwrite64", "ftruncate"), withWhen(names, "bpf", 0, unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM)),
		},
		{"workers", concat(
			each("pidfd_open", "pidfd_send_signal", "pidfd_getfd", "process_vm_readv", "wait4", "waitid"),
			with("ioctl", 1, unix.SECCOMP_IOCTL_NOTIF_RECV, unix.SECCOMP_IOCTL_NOTIF_SEND, notifIDValid, notifAddFD, notifFlags, unix.PIDFD_GET_INFO)),
		},
		{"what workers store", with("kcmp", 2, kcmpFile)},
		{"what an exec brings along", eachWhen(splits, "prlimit64", "getpriority", "memfd_create", "pwrite64")},
		{"another user's name", concat(
			each("geteuid", "getegid", "getuid", "getgid"),
			eachWhen(becomes, "setgroups", "setresgid", "setresuid", "setfsuid", "setfsgid", "capset"),
			withWhen(becomes, "prctl", 0, unix.PR_SET_KEEPCAPS)),
		},
	}...)
}

// runtime is what every program in Go needs, here without memory that is
// executed, processes, and signals to others.
func runtime(pid int) []group {
	return []group{
		{"Go's memory", concat(
			without("mmap", 2, unix.PROT_EXEC), without("mprotect", 2, unix.PROT_EXEC), each("munmap", "madvise"),
			with("prctl", 0, unix.PR_SET_VMA)),
		},
		{"Go's threads", concat(
			with("clone", 0, threadFlags),
			each("futex", "gettid", "getpid", "sched_yield", "sched_getaffinity", "nanosleep", "clock_gettime", "restart_syscall", "getrandom", "exit", "exit_group")),
		},
		{"Go's signals, its own threads only", concat(
			with("tgkill", 0, uint64(pid)), each("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack")),
		},
	}
}

func concat(all ...[]call) []call {
	var calls []call
	for _, some := range all {
		calls = append(calls, some...)
	}
	return calls
}

// Filter is the monitor's filter for a plan. What it does not allow is told
// to the keeper; clone3 is not there for Go, which does without.
func Filter(p *plan.Plan, pid int) plan.Syscalls {
	return compile(table(pid), p)
}

func compile(groups []group, p *plan.Plan) plan.Syscalls {
	s := plan.Syscalls{Default: plan.Refuse, Rules: []plan.Rule{{Call: "clone3", Action: plan.Errno, Errno: int32(unix.ENOSYS)}}}
	seen := map[string]bool{}
	for _, g := range groups {
		for _, c := range g.calls {
			if !c.when.holds(p) || c.only == nil && seen[c.name] {
				continue
			}
			seen[c.name] = seen[c.name] || c.only == nil
			s.Rules = append(s.Rules, plan.Rule{Call: c.name, Action: plan.Allow, Conditions: c.only})
		}
	}
	return s
}
