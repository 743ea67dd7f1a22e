/* One worker: from the fork to the exec of the program.
 *
 * Two processes: the worker's own init (pid 1 of its pid namespace; it reaps
 * and reports) and the program (pid 2). A program cannot be pid 1 itself: pid
 * 1 ignores every signal it has no handler for, even its own abort().
 *
 * All walls stand before the worker waits for its orders, so that one that was
 * prepared ahead has little left to do: the filter too, unless it forbids what
 * following them takes.
 */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

/* Newer than the headers that a builder may have. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* Linux 5.19 */
#endif
#define LANDLOCK_RULE_PATH_BENEATH_TYPE 1
struct landlock_path_beneath { uint64_t access; int32_t fd; } __attribute__((packed));

/* What the program's process and the worker's init know of each other: they
 * share memory until the exec, as after vfork(2). */
struct launch {
	struct spec *spec;
	int socket;
	const sigset_t *signals;  /* the mask that the program gets */
	const char *step;         /* what failed, NULL when nothing did */
	int error;
	int unwanted;             /* the monitor does not need the worker after all */
	int executed;             /* by another component's program */
	uint32_t notes;           /* of MSG_STARTED */
	int listener;             /* seccomp listener, -1 before there is one */
};

static int fail(struct launch *l, const char *step)
{
	l->error = errno;
	l->step = step;
	return 127;
}

static int landlock(struct spec *s)
{
	if (!s->landlock)
		return 0;
	int ruleset = syscall(SYS_landlock_create_ruleset, s->landlock_attr, s->landlock_attr_size, 0);
	if (ruleset < 0)
		return -1;
	for (int i = 0; i < s->path_count; i++) {
		struct landlock_path_beneath rule = { s->paths[i].access, s->paths[i].fd };
		if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH_TYPE, &rule, 0) < 0)
			return -1;
	}
	/* Each worker's tmpfs and /proc are file systems of their own, which
	 * no rule made in advance can name. */
	for (int i = 0; i <= s->temporary_count; i++) {
		uint64_t access = s->proc_access;
		const char *path = "/proc";
		if (i < s->temporary_count) {
			access = s->temporary[i].access;
			path = s->temporary[i].target;
		}
		if (!access)
			continue;
		struct landlock_path_beneath rule = { access, open(path, O_PATH | O_CLOEXEC | O_DIRECTORY) };
		if (rule.fd < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH_TYPE, &rule, 0) < 0)
			return -1;
		close(rule.fd);
	}
	int r = syscall(SYS_landlock_restrict_self, ruleset, 0);
	close(ruleset);
	return r;
}

static int capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ keep, keep, keep }, { keep >> 32, keep >> 32, keep >> 32 },
	};
	if (syscall(SYS_capset, &header, data) < 0)
		return -1;
	for (int c = 0; c < 64; c++)
		if (keep >> c & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
			return -1;
	return 0;
}

/* WAIT_KILLABLE_RECV: or programs that get many signals, as every Go program,
 * would be interrupted for ever. */
static int filter(struct launch *l)
{
	l->listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &l->spec->filter);
	return l->listener < 0 ? fail(l, "load the seccomp filter") : 0;
}

/* The program's process. It shares the memory and the descriptor table of
 * the worker's init until it execs, so nothing here may close or move what
 * that still needs, and only async-signal-safe calls are made. */
static int program(void *argument)
{
	struct launch *l = argument;
	struct spec *s = l->spec;

	/* A session of its own: no terminal of the administrator's is its
	 * controlling one (CVE-2017-5226). After an exec the session is that of
	 * the worker's init: with a parent in it the program can be stopped by
	 * SIGTSTP as it could in its caller's. */
	if (l->executed ? setpgid(0, 0) < 0 : setsid() < 0)
		return fail(l, "start a session");
	umask(s->umask);
	/* Ids before capabilities: changing them takes CAP_SETUID. Raw calls,
	 * because the C library's would look for threads to take along. */
	if (s->capabilities && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return fail(l, "keep capabilities");
	if (s->set_groups && syscall(SYS_setgroups, s->group_count, s->groups) < 0)
		return fail(l, "set groups");
	if (syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0)
		return fail(l, "set the group");
	if (syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return fail(l, "set the user");
	/* As the worker's user, so that no directory is entered that it could
	 * not enter itself. */
	if (chdir(s->directory) < 0)
		return fail(l, "change to the working directory");
	if (capabilities(s->capabilities) < 0)
		return fail(l, "drop capabilities");

	/* no_new_privs: set-user-ID files give nothing, and without
	 * CAP_SYS_ADMIN both of the next walls demand it. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(l, "set no_new_privs");
	if (landlock(s) < 0)
		return fail(l, "restrict by Landlock");
	if (sigprocmask(SIG_SETMASK, l->signals, NULL) < 0)
		return fail(l, "set the signal mask");

	/* What an exec brings is followed by more calls than the orders of others. */
	int early = s->filter_early && !l->executed;
	if (early && filter(l))
		return 127;

	const char *step;
	switch (orders_follow(s, &l->socket, &l->listener, &step)) {
	case -1:
		return fail(l, step);
	case ORDERS_NONE:
		l->unwanted = 1;
		return 0;
	}

	/* Behind all that takes descriptors of its own. */
	for (int i = 0; i < s->rlimit_count; i++)
		if (setrlimit(s->rlimits[i].resource, &s->rlimits[i].value) < 0)
			return fail(l, "set a resource limit");
	if (s->process && process_inherit(s, &l->notes, &step) < 0)
		return fail(l, step);
	if (s->process && process_signals(s) < 0)
		return fail(l, "set the signal mask");
	/* From here on, at the latest, only what the policy allows works, and
	 * that includes the exec. */
	if (!early && filter(l))
		return 127;
	execve(s->program, s->arguments, s->environment);
	return fail(l, "execute the program");
}

static _Noreturn void give_up(int socket, const char *step, int error)
{
	struct { uint32_t type, error; char text[256]; } m = { MSG_FAILED, error, "" };
	size_t n = strlen(step);
	if (n > sizeof m.text)
		n = sizeof m.text;
	memcpy(m.text, step, n);
	message_send(socket, &m, 8 + n, NULL, 0);
	_exit(1);
}

/* What system-wide files of /proc a worker with a full /proc must not see or
 * change; the list is that of runc's default masked and read-only paths. */
static const char *const proc_hidden_directories[] = {
	"/proc/acpi", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi", "/proc/driver", NULL
};
static const char *const proc_hidden_files[] = {
	"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
	"/proc/kmsg", "/proc/kallsyms", "/proc/sysrq-trigger", "/proc/interrupts", NULL
};

static void mount_proc(struct spec *s, int socket)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (s->proc == 1)
		return; /* the init of the compartment has none either */
	/* The compartment's own has to be there, unmasked: the kernel lets a
	 * user namespace mount a new one only then. */
	if (mount("proc", "/proc", "proc", flags, s->proc == 2 ? "subset=pid" : NULL) < 0)
		give_up(socket, "mount /proc", errno);
	if (s->proc == 2)
		return;
	for (const char *const *p = proc_hidden_directories; *p; p++)
		if (mount("tmpfs", *p, "tmpfs", flags | MS_RDONLY, "size=0,mode=000") < 0 && errno != ENOENT)
			give_up(socket, *p, errno);
	for (const char *const *p = proc_hidden_files; *p; p++)
		if (mount("/dev/null", *p, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			give_up(socket, *p, errno);
	if (mount("/proc/sys", "/proc/sys", NULL, MS_BIND | MS_REC, NULL) < 0
	    || mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
		give_up(socket, "make /proc/sys read-only", errno);
}

static _Noreturn void reap(int socket, pid_t main_pid, int executed, int background)
{
	int ended = 0, left = 0; /* the program's process has gone, and others may run on */
	struct { uint32_t type, status; uint64_t processor, peak, leaves; } m = { .type = MSG_ENDED };

	for (;;) {
		int status;
		struct rusage usage;
		pid_t pid = wait4(-1, &status, executed ? WUNTRACED | WCONTINUED : 0, &usage);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0 && ended)
			_exit(0); /* what the program left behind has ended too */
		if (pid < 0 && left) {
			message_send(socket, &m, sizeof m, NULL, 0);
			_exit(0);
		}
		if (pid < 0)
			give_up(socket, "wait for the program", errno);
		if (pid != main_pid && !background)
			continue; /* an orphan of the program's */
		if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
			uint32_t stopped[2] = { MSG_STOPPED, status };
			message_send(socket, stopped, sizeof stopped, NULL, 0);
			continue;
		}
		m.status = status;
		m.processor += (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000ull + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
		if (m.peak < usage.ru_maxrss * 1024ull)
			m.peak = usage.ru_maxrss * 1024ull;
		/* A daemon that goes into the background ends with 0, and what it
		 * has forked is the worker from then on: the last says how it ended. */
		left |= background && pid == main_pid && status == 0;
		if (left || pid != main_pid)
			continue;
		m.leaves = kill(-1, 0) == 0; /* is there anybody? */
		message_send(socket, &m, sizeof m, NULL, 0);
		/* The end of pid 1 ends whatever the program left behind; what
		 * was executed may leave something, as it could where it was. */
		if (!executed)
			_exit(0);
		close(socket);
		ended = 1;
	}
}

/* clone(2) takes no pid to give, and the C library has no clone3(2). Only the
 * processors that the table of system calls is for are known here. */
static long clone_as(pid_t pid, char *stack, size_t size, struct launch *l)
{
	struct clone_args a = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES, .exit_signal = SIGCHLD,
		.stack = (uintptr_t)stack, .stack_size = size,
		.set_tid = (uintptr_t)&pid, .set_tid_size = 1,
	};
	long result = SYS_clone3;
	register int (*run)(void *) __asm__("r12") = program;
	register struct launch *argument __asm__("r13") = l;

	__asm__ volatile(
		"syscall\n\t"
		"test %%eax, %%eax\n\t"
		"jnz 1f\n\t"
		"xor %%ebp, %%ebp\n\t"
		"mov %%r13, %%rdi\n\t"
		"call *%%r12\n\t"
		"mov %%eax, %%edi\n\t"
		"mov %[exit], %%eax\n\t"
		"syscall\n\t"
		"hlt\n"
		"1:"
		: "+a"(result)
		: "D"(&a), "S"(sizeof a), "r"(run), "r"(argument), [exit] "i"(SYS_exit)
		: "rcx", "r11", "memory", "cc");
	return result;
}

/* Waits to be told which pid the program of an exec is to have: one that was
 * prepared ahead has all its mounts by then. */
static pid_t wait_for_pid(int socket)
{
	uint32_t m[2];
	int fd_count = 0;
	long n = message_receive(socket, m, sizeof m, NULL, &fd_count);

	if (n == 0)
		_exit(0); /* it is not needed after all */
	if (n != sizeof m || m[0] != MSG_PID)
		give_up(socket, "read a message of the monitor", n < 0 ? errno : EPROTO);
	return m[1];
}

_Noreturn void worker_run(struct spec *s, int executed, int socket, const int *cgroups, int cgroup_count)
{
	static char stack[32768] __attribute__((aligned(16)));

	/* The cgroup first: whatever this process uses from here on counts.
	 * The descriptors were opened by the monitor, whose rights the kernel
	 * checks the write against. */
	for (int i = 0; i < cgroup_count; i++) {
		if (write(cgroups[i], "0", 1) != 1)
			give_up(socket, "enter the cgroup", errno);
		close(cgroups[i]);
	}
	/* Then its name space, or /proc/self/cgroup would tell the host's paths. */
	if (unshare(CLONE_NEWCGROUP) < 0)
		give_up(socket, "make a cgroup namespace", errno);

	mount_proc(s, socket);
	for (int i = 0; i < s->temporary_count; i++) {
		struct temporary *t = &s->temporary[i];
		char options[96];
		snprintf(options, sizeof options, "size=%llu,mode=%o,uid=%u,gid=%u,nr_inodes=65536",
			(unsigned long long)t->bytes, t->mode, s->uid, s->gid);
		if (mount("tmpfs", t->target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
			give_up(socket, t->target, errno);
	}

	sigset_t none;
	sigemptyset(&none);
	struct launch l = { .spec = s, .socket = socket, .signals = &none, .listener = -1, .executed = executed };
	if (executed && setsid() < 0)
		give_up(socket, "start a session", errno);
	pid_t wanted = executed ? wait_for_pid(socket) : 0;
	/* The memory and the descriptor table are shared: no page table is
	 * copied, and the listener that the program's process makes appears
	 * here without a message that its own filter might stop. The exec
	 * takes it a table of its own. Until then this process stands still,
	 * and can be killed. */
	pid_t pid = -1;
	if (wanted > 1) {
		long got = clone_as(wanted, stack, sizeof stack, &l);
		if (got > 0)
			pid = got;
		else
			l.notes |= NOTE_PID;
	}
	if (pid < 0)
		pid = clone(program, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &l);
	if (pid < 0)
		give_up(socket, "start the program's process", errno);
	if (l.unwanted)
		_exit(0);
	socket = l.socket;
	if (l.step)
		give_up(socket, l.step, l.error);
	if (l.listener < 0) /* it was killed on its way to the filter */
		give_up(socket, "start the program's process", ECANCELED);

	uint32_t started[2] = { MSG_STARTED, l.notes };
	/* Not CLONE_PIDFD: its number would lie in the shared table, where the
	 * program's process puts what the program gets. The pid cannot be
	 * another's yet, nobody but this process waits for it. */
	int fds[2] = { syscall(SYS_pidfd_open, pid, 0), l.listener };
	if (fds[0] < 0)
		give_up(socket, "open a pidfd of the program", errno);
	if (message_send(socket, started, sizeof started, fds, 2) < 0)
		_exit(1);
	/* Nothing that the program has may stay open here, or its pipes would
	 * never end. */
	syscall(SYS_close_range, 0, socket - 1, 0);
	syscall(SYS_close_range, socket + 1, ~0U, 0);
	reap(socket, pid, executed, s->background && !executed);
}
