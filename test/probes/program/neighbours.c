/* What can be set at a neighbour, or learned of it, without a look into its memory. */
#include "probe.h"

#include <sys/resource.h>
#include <sched.h>
#include <time.h>

#define NEED_NEIGHBOUR(pid)                                \
	long pid = target_number("PROBE_VICTIM_PID", 0);   \
	if (!pid || is_own_process(pid))                   \
	return no_target("PROBE_VICTIM_PID")

static enum verdict slow_down(void)
{
	NEED_NEIGHBOUR(pid);
	errno = 0;
	int before = getpriority(PRIO_PROCESS, (id_t)pid);
	if (errno)
		return refused("getpriority");
	if (setpriority(PRIO_PROCESS, (id_t)pid, before + 1))
		return refused("setpriority");
	setpriority(PRIO_PROCESS, (id_t)pid, before);
	return escaped("changed the priority of process %ld", pid);
}

static enum verdict idle(void)
{
	struct sched_param parameter = { 0 };

	NEED_NEIGHBOUR(pid);
	/* musl does not offer sched_setscheduler, as POSIX means another scope. */
	if (syscall(SYS_sched_setscheduler, pid, SCHED_IDLE, &parameter))
		return refused("sched_setscheduler");
	syscall(SYS_sched_setscheduler, pid, SCHED_OTHER, &parameter);
	return escaped("let process %ld run only when nobody else wants to", pid);
}

static enum verdict disk_priority(void)
{
	enum { WHO_PROCESS = 1, IDLE = 3 << 13 };

	NEED_NEIGHBOUR(pid);
	long before = syscall(SYS_ioprio_get, WHO_PROCESS, pid);
	if (before < 0)
		return refused("ioprio_get");
	if (syscall(SYS_ioprio_set, WHO_PROCESS, pid, IDLE))
		return refused("ioprio_set");
	syscall(SYS_ioprio_set, WHO_PROCESS, pid, before);
	return escaped("let process %ld wait for the disk", pid);
}

/* How long a neighbour computes tells what it computes. */
static enum verdict processor_clock(void)
{
	struct timespec used;

	NEED_NEIGHBOUR(pid);
	/* CPUCLOCK_SCHED of a process: clock_getcpuclockid(3). */
	clockid_t clock = (clockid_t)((~(unsigned)pid << 3) | 2);
	if (clock_gettime(clock, &used))
		return refused("clock_gettime");
	return escaped("reads the processor time of process %ld", pid);
}

static enum verdict family(void)
{
	NEED_NEIGHBOUR(pid);
	pid_t session = getsid((pid_t)pid);
	return session < 0 ? refused("getsid") : escaped("process %ld is in session %d", pid, (int)session);
}

/* Writes to a file of the neighbour's in /proc what stands there already. */
static enum verdict write_back_of(const char *name)
{
	char path[64];

	NEED_NEIGHBOUR(pid);
	snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
	return write_back(path);
}

static enum verdict victim_of_memory(void) { return write_back_of("oom_score_adj"); }

static enum verdict timers(void) { return write_back_of("timerslack_ns"); }

static enum verdict core_dumps(void) { return write_back_of("coredump_filter"); }

/* Which pages a neighbour has, and with rights where they lie. */
static enum verdict pages(void)
{
	char path[64];
	uint64_t entry;
	const char *address = target("PROBE_VICTIM_ADDRESS");

	NEED_NEIGHBOUR(pid);
	if (!address)
		return no_target("PROBE_VICTIM_ADDRESS");
	snprintf(path, sizeof path, "/proc/%ld/pagemap", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	off_t at = (off_t)(strtoull(address, NULL, 16) / 4096 * sizeof entry);
	if (pread(fd, &entry, sizeof entry, at) != sizeof entry)
		return refused("pread");
	return escaped("knows which memory of process %ld is there", pid);
}

/* Where a neighbour stands still, with the arguments of its call. */
static enum verdict call(void)
{
	char path[64], text[128];

	NEED_NEIGHBOUR(pid);
	snprintf(path, sizeof path, "/proc/%ld/syscall", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	if (read(fd, text, sizeof text) <= 0)
		return refused("read");
	return escaped("knows the call that process %ld waits in", pid);
}

static const struct probe neighbours_probes[] = {
	{ "neighbour-priority", "lower a neighbour's priority", "setpriority(2)", "pid namespace, seccomp", slow_down },
	{ "neighbour-idle", "let a neighbour run only when nobody else does", "sched(7)", "pid namespace, seccomp", idle },
	{ "neighbour-disk", "lower a neighbour's priority at the disk", "ioprio_set(2)", "pid namespace, seccomp", disk_priority },
	{ "neighbour-clock", "read how long a neighbour has computed", "clock_getcpuclockid(3)", "pid namespace", processor_clock },
	{ "neighbour-session", "learn a neighbour's session", "getsid(2)", "pid namespace", family },
	{ "neighbour-oom", "let a neighbour be killed first when memory is short", "proc_pid_oom_score_adj(5)", "pid namespace",
	  victim_of_memory },
	{ "neighbour-timers", "let a neighbour's timers come late", "proc_pid_timerslack_ns(5)", "pid namespace", timers },
	{ "neighbour-core", "choose what is in a neighbour's core dump", "core(5)", "pid namespace", core_dumps },
	{ "neighbour-pages", "learn which memory of a neighbour is there", "proc_pid_pagemap(5)", "pid namespace", pages },
	{ "neighbour-call", "learn which call a neighbour waits in", "proc_pid_syscall(5)", "pid namespace", call },
};
THEME(neighbours);
