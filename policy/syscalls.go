package policy

import (
	"sort"
	"strings"
)

// A callGroup is a set of system calls under a name. Every call of package
// calls is in at least one group, so that @privileged and its like can be
// denied and explained by name; a test keeps it so.
type callGroup struct {
	name  string
	doc   string
	calls string
}

// callGroups are the groups of the language, without the @. What a call may do
// to files is limited by the compartment's root file system and by Landlock,
// so @default has the calls that read and write files, whatever their path.
var callGroups = []callGroup{
	{"default", "memory, time, signals, polling, pipes, reading and writing files: every component has it", `
		read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice tee vmsplice copy_file_range
		open openat openat2 creat close close_range dup dup2 dup3 fcntl flock ioctl
		stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir
		statfs fstatfs fadvise64 readahead fsync fdatasync ftruncate truncate fallocate sync_file_range umask
		getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr getxattrat listxattrat file_getattr cachestat
		mmap munmap mprotect mremap brk madvise mincore msync mlock munlock mlock2 mlockall munlockall memfd_create
		pkey_mprotect pkey_alloc pkey_free membarrier mseal get_mempolicy
		poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
		eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4
		inotify_init inotify_init1 inotify_add_watch inotify_rm_watch pipe pipe2
		socketpair sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown getsockname getpeername getsockopt
		rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack restart_syscall pause
		kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo
		nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times alarm getitimer setitimer
		timer_create timer_settime timer_gettime timer_getoverrun timer_delete
		futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list get_robust_list
		set_tid_address gettid rseq arch_prctl prctl set_thread_area get_thread_area personality
		execve execveat exit exit_group wait4 waitid getpid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getgroups
		getresuid getresgid capget getrlimit setrlimit prlimit64 getrusage getpriority sched_yield sched_getaffinity
		sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getattr
		getcpu uname sysinfo getrandom`},
	{"file-system", "making, removing and renaming files, changing their owners, modes and times", `
		mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat
		chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat
		setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr
		syncfs sync name_to_handle_at`},
	{"network-io", "sockets: making, binding, connecting, accepting", `
		socket socketpair bind connect listen accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown
		getsockname getpeername getsockopt setsockopt`},
	{"netlink-route", "asking for the interfaces, addresses and routes of the component's own network, which is empty", `
		socket bind sendto recvfrom sendmsg recvmsg getsockname getsockopt setsockopt`},
	{"threads", "threads of the program's own", `clone`},
	{"process", "processes: fork, wait, sessions, pidfds", `
		clone fork vfork wait4 waitid setpgid setsid kill pidfd_open pidfd_send_signal`},
	{"ipc", "System V and POSIX shared memory, semaphores and message queues", `
		shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl
		mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr`},
	{"resources", "priorities, processor affinity, memory policy", `
		setpriority sched_setaffinity sched_setparam sched_setscheduler sched_setattr ioprio_get ioprio_set
		mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages process_madvise process_mrelease`},
	{"terminal", "setting a terminal's modes and its foreground job", `ioctl setsid setpgid`},
	{"identity", "changing user, group and capabilities, for programs that drop rights", `
		setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset`},
	{"sandbox", "further walls that a program builds round itself", `
		seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self`},
	{"aio", "the old asynchronous input and output", `io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents`},
	{"debug", "looking into other processes", `
		ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp perf_event_open lookup_dcookie`},
	{"privileged", "the machine: mounts, namespaces, modules, clocks, keys", `
		mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr statmount listmount
		unshare setns init_module finit_module delete_module create_module get_kernel_syms query_module
		kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd nfsservctl _sysctl sysfs ustat uselib
		settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname iopl ioperm modify_ldt vhangup syslog
		add_key request_key keyctl bpf userfaultfd open_by_handle_at fanotify_init fanotify_mark
		lsm_get_self_attr lsm_set_self_attr lsm_list_modules memfd_secret map_shadow_stack remap_file_pages`},
	{"absent", "calls that answer that they do not exist, so that libraries use what a filter can see", `
		clone3 io_uring_setup io_uring_enter io_uring_register
		getpmsg putpmsg afs_syscall tuxcall security epoll_ctl_old epoll_wait_old vserver`},
}

// callsOf are the calls of each group.
var callsOf = func() map[string][]string {
	groups := make(map[string][]string, len(callGroups))
	for _, group := range callGroups {
		groups[group.name] = strings.Fields(group.calls)
	}
	return groups
}()

// CallGroup is a group of system calls that a policy names as @NAME.
type CallGroup struct {
	Name  string // without the @
	Calls []string
}

// CallGroups are all groups, in the order of the reference.
func CallGroups() []CallGroup {
	groups := make([]CallGroup, len(callGroups))
	for i, group := range callGroups {
		groups[i] = CallGroup{Name: group.name, Calls: callsOf[group.name]}
	}
	return groups
}

// DeniedCalls are the calls that a component denies by {deny: […]}.
func (p *Policy) DeniedCalls(component string) []string {
	source, known := p.file.Components.Find(component)
	if !known {
		return nil
	}
	var denied []string
	for _, use := range source.Syscalls {
		for _, name := range use.Deny {
			if group, isGroup := strings.CutPrefix(name.Value, "@"); isGroup {
				denied = append(denied, callsOf[group]...)
			} else {
				denied = append(denied, name.Value)
			}
		}
	}
	return denied
}

func groupNames() []string {
	names := make([]string, len(callGroups))
	for i, group := range callGroups {
		names[i] = "@" + group.name
	}
	sort.Strings(names)
	return names
}
