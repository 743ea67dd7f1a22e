/* Other processes: the neighbour (PROBE_VICTIM_PID may as well name a monitor or
 * a supervisor) and process 1, which in a compartment belongs to the launcher. */
#include "probe.h"

#include <ctype.h>
#include <dirent.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

/* The victim's number may be the probe's own inside, which proves nothing. */
static long victim(void)
{
	long pid = target_number("PROBE_VICTIM_PID", 0);
	return is_own_process(pid) ? 0 : pid;
}

#define NEED_VICTIM(pid)       \
	long pid = victim();   \
	if (!pid)              \
	return no_target("PROBE_VICTIM_PID")

static enum verdict ptrace_attach(void)
{
	NEED_VICTIM(pid);
	if (ptrace(PTRACE_ATTACH, (pid_t)pid, NULL, NULL))
		return refused("ptrace");
	int status;
	waitpid((pid_t)pid, &status, __WALL);
	errno = 0;
	ptrace(PTRACE_PEEKUSER, (pid_t)pid, NULL, NULL);
	int failure = errno;
	ptrace(PTRACE_DETACH, (pid_t)pid, NULL, NULL);
	errno = failure;
	return failure ? refused("ptrace peek") : escaped("attached to process %ld and read a register", pid);
}

static enum verdict ptrace_seize(void)
{
	NEED_VICTIM(pid);
	if (ptrace(PTRACE_SEIZE, (pid_t)pid, NULL, NULL))
		return refused("ptrace");
	ptrace(PTRACE_INTERRUPT, (pid_t)pid, NULL, NULL);
	int status;
	waitpid((pid_t)pid, &status, __WALL);
	ptrace(PTRACE_DETACH, (pid_t)pid, NULL, NULL);
	return escaped("seized process %ld", pid);
}

/* A tracer with the option set runs its child without the child's filter. */
static enum verdict suspend_seccomp(void)
{
	int gate[2];
	if (pipe(gate))
		return refused("pipe");
	pid_t child = fork();
	if (child < 0)
		return refused("fork");
	if (child == 0) {
		char byte;
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) < 0);
	}
	close(gate[0]);
	int failed = (int)ptrace(PTRACE_SEIZE, child, NULL, (void *)(uintptr_t)PTRACE_O_SUSPEND_SECCOMP);
	int failure = errno;
	close(gate[1]);
	wait_for(child);
	errno = failure;
	return failed ? refused("ptrace") : escaped("suspended the filter of a traced child");
}

static enum verdict read_memory(void)
{
	char bytes[sizeof MARKER];
	NEED_VICTIM(pid);
	long address = target_number("PROBE_VICTIM_ADDRESS", 0);
	struct iovec here = { bytes, sizeof bytes - 1 }, there = { (void *)address, sizeof bytes - 1 };

	if (!address)
		return no_target("PROBE_VICTIM_ADDRESS");
	if (process_vm_readv((pid_t)pid, &here, 1, &there, 1, 0) < 0)
		return refused("process_vm_readv");
	if (memcmp(bytes, MARKER, sizeof MARKER - 1))
		return stopped("other memory than the victim's");
	return escaped("read the memory of process %ld", pid);
}

static enum verdict write_memory(void)
{
	char bytes[] = MARKER;
	NEED_VICTIM(pid);
	long address = target_number("PROBE_VICTIM_ADDRESS", 0);
	struct iovec here = { bytes, sizeof bytes - 1 }, there = { (void *)address, sizeof bytes - 1 };

	if (!address)
		return no_target("PROBE_VICTIM_ADDRESS");
	if (process_vm_writev((pid_t)pid, &here, 1, &there, 1, 0) < 0)
		return refused("process_vm_writev");
	return escaped("wrote (the same) into the memory of process %ld", pid);
}

static int open_of(long pid, const char *file, int flags)
{
	char path[128];
	snprintf(path, sizeof path, "/proc/%ld/%s", pid, file);
	return open(path, flags | O_CLOEXEC);
}

static enum verdict proc_memory(void)
{
	NEED_VICTIM(pid);
	int fd = open_of(pid, "mem", O_RDWR);
	if (fd < 0)
		return refused("/proc/PID/mem");
	if (lseek(fd, target_number("PROBE_VICTIM_ADDRESS", 0), SEEK_SET) < 0)
		return refused("lseek");
	return read_secret(fd, "/proc/PID/mem");
}

/* Is the variable with the marker among those of a process? */
static enum verdict environment_of(long pid)
{
	char bytes[65536];
	int fd = open_of(pid, "environ", O_RDONLY);
	if (fd < 0)
		return refused("/proc/PID/environ");
	ssize_t length = read(fd, bytes, sizeof bytes);
	enum verdict verdict = length < 0 ? refused("/proc/PID/environ") : STOPPED;
	close(fd);
	if (length < 0)
		return verdict;
	if (length > 0 && memmem(bytes, (size_t)length, MARKER, strlen(MARKER)))
		return escaped("read the secret in the environment of process %ld", pid);
	return stopped("the environment of process %ld has no secret", pid);
}

static enum verdict proc_environment(void)
{
	NEED_VICTIM(pid);
	return environment_of(pid);
}

static enum verdict proc_root(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	char path[512];
	NEED_VICTIM(pid);

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	snprintf(path, sizeof path, "/proc/%ld/root%s", pid, secret);
	return read_secret(open(path, O_RDONLY | O_CLOEXEC), "/proc/PID/root");
}

static enum verdict proc_cwd(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	char path[512];
	NEED_VICTIM(pid);

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	snprintf(path, sizeof path, "/proc/%ld/cwd/../../../../../../../..%s", pid, secret);
	return read_secret(open(path, O_RDONLY | O_CLOEXEC), "/proc/PID/cwd");
}

static enum verdict proc_descriptor(void)
{
	char file[32];
	NEED_VICTIM(pid);
	long number = target_number("PROBE_VICTIM_FD", -1);

	if (number < 0)
		return no_target("PROBE_VICTIM_FD");
	snprintf(file, sizeof file, "fd/%ld", number);
	return read_secret(open_of(pid, file, O_RDONLY), "/proc/PID/fd");
}

static enum verdict steal_descriptor(void)
{
	NEED_VICTIM(pid);
	long number = target_number("PROBE_VICTIM_FD", -1);

	if (number < 0)
		return no_target("PROBE_VICTIM_FD");
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return refused("pidfd_open");
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return read_secret(fd, "pidfd_getfd");
}

/* pidfs file handles (Linux 6.14) name a process by a number that is not a pid. */
static enum verdict pidfs_handle(void)
{
	enum { FD_PIDFS_ROOT = -10002 };
	struct file_handle *handle = target_handle("PROBE_VICTIM_HANDLE");

	if (!handle)
		return no_target("PROBE_VICTIM_HANDLE");
	int pidfd = open_by_handle_at(FD_PIDFS_ROOT, handle, O_CLOEXEC);
	if (pidfd < 0)
		return refused("open_by_handle_at");
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0))
		return refused("pidfd_send_signal");
	return escaped("a pidfd of the victim by a file handle");
}

static enum verdict see_neighbours(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	enum verdict verdict = stopped("no process of others in /proc");

	if (!processes)
		return refused("/proc");
	while ((entry = readdir(processes))) {
		char name[32] = "";
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		int fd = open_of(atol(entry->d_name), "comm", O_RDONLY);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof name - 1) > 0 && !strcmp(name, "probe-victim\n"))
			verdict = escaped("found the neighbour in /proc as process %s", entry->d_name);
		close(fd);
	}
	closedir(processes);
	return verdict;
}

static enum verdict send_signal(void)
{
	NEED_VICTIM(pid);
	if (kill((pid_t)pid, SIGUSR1))
		return refused("kill");
	return escaped("sent a signal to process %ld", pid);
}

static enum verdict queue_signal(void)
{
	NEED_VICTIM(pid);
	if (sigqueue((pid_t)pid, SIGUSR1, (union sigval){ .sival_int = 1 }))
		return refused("sigqueue");
	return escaped("queued a signal with a value to process %ld", pid);
}

static enum verdict pidfd_signal(void)
{
	NEED_VICTIM(pid);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return refused("pidfd_open");
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, NULL, 0))
		return refused("pidfd_send_signal");
	return escaped("sent a signal to process %ld by a pidfd", pid);
}

/* kill(0) reaches a process group across pid namespaces. A group or session whose
 * leader is outside shows as number 0. */
static enum verdict outside_group(void)
{
	int group = getpgrp() == 0, session = getsid(0) == 0;

	if (group && kill(0, SIGURG))
		return refused("kill");
	if (group)
		return escaped("shares a process group with processes outside and may signal it");
	if (session)
		return escaped("shares a session with processes outside");
	return stopped("a process group and session of its own");
}

static enum verdict limits_of_others(void)
{
	struct rlimit limit;
	NEED_VICTIM(pid);

	if (prlimit((pid_t)pid, RLIMIT_CORE, NULL, &limit))
		return refused("prlimit");
	if (prlimit((pid_t)pid, RLIMIT_CORE, &limit, NULL))
		return refused("prlimit");
	return escaped("set (the same) limit of process %ld", pid);
}

static enum verdict processors_of_others(void)
{
	cpu_set_t set;
	NEED_VICTIM(pid);

	if (sched_getaffinity((pid_t)pid, sizeof set, &set))
		return refused("sched_getaffinity");
	if (sched_setaffinity((pid_t)pid, sizeof set, &set))
		return refused("sched_setaffinity");
	return escaped("set (the same) processors of process %ld", pid);
}

static enum verdict compare_kernel_objects(void)
{
	NEED_VICTIM(pid);
	long order = syscall(SYS_kcmp, getpid(), pid, KCMP_FILES, 0, 0);
	if (order < 0)
		return refused("kcmp");
	return escaped("compared kernel addresses with process %ld", pid);
}

/* Process 1 of a compartment is the launcher's: whoever reads its memory is in
 * another program. */
#define NEED_INIT(pid)           \
	long pid = init_pid();   \
	if (is_own_process(pid)) \
	return stopped("process 1 of this pid namespace is the probe")

static enum verdict init_memory(void)
{
	char line[256], bytes[16];
	unsigned long start;
	NEED_INIT(pid);

	int maps = open_of(pid, "maps", O_RDONLY);
	if (maps < 0)
		return refused("maps of process 1");
	ssize_t length = read(maps, line, sizeof line - 1);
	close(maps);
	line[length < 0 ? 0 : length] = 0;
	if (sscanf(line, "%lx-", &start) != 1)
		return stopped("process 1 shows no memory");
	int memory = open_of(pid, "mem", O_RDONLY);
	if (memory < 0)
		return refused("mem of process 1");
	if (pread(memory, bytes, sizeof bytes, (off_t)start) < 0)
		return refused("mem of process 1");
	return escaped("read the memory of process 1");
}

static enum verdict init_environment(void)
{
	char byte;
	NEED_INIT(pid);

	int fd = open_of(pid, "environ", O_RDONLY);
	if (fd < 0)
		return refused("environ of process 1");
	ssize_t length = read(fd, &byte, 1);
	if (length < 0)
		return refused("environ of process 1");
	return length ? escaped("read the environment of process 1") : stopped("the environment of process 1 is empty");
}

static enum verdict init_descriptors(void)
{
	int number = 0;
	NEED_INIT(pid);

	int directory = open_of(pid, "fd", O_RDONLY | O_DIRECTORY);
	DIR *descriptors = directory < 0 ? NULL : fdopendir(directory);
	if (!descriptors)
		return refused("fd of process 1");
	while (readdir(descriptors))
		number++;
	closedir(descriptors);
	return escaped("listed the %d descriptors of process 1", number - 2);
}

static enum verdict init_root(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	char path[512];

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	snprintf(path, sizeof path, "/proc/%ld/root%s", init_pid(), secret);
	return read_secret(open(path, O_RDONLY | O_CLOEXEC), "the root of process 1");
}

static const struct probe processes_probes[] = {
	{ "ptrace-attach", "attach to a neighbour and read a register", "ptrace(2)", "pid namespace, seccomp",
	  ptrace_attach },
	{ "ptrace-seize", "seize a neighbour", "ptrace(2)", "pid namespace, seccomp", ptrace_seize },
	{ "suspend-seccomp", "suspend the filter of a traced child", "ptrace(2)", "capabilities, seccomp",
	  suspend_seccomp },
	{ "process-vm-readv", "read a neighbour's memory", "process_vm_readv(2)", "pid namespace, seccomp",
	  read_memory },
	{ "process-vm-writev", "write a neighbour's memory", "process_vm_writev(2)", "pid namespace, seccomp",
	  write_memory },
	{ "proc-mem", "read a neighbour's memory by /proc", "proc(5)", "pid namespace", proc_memory },
	{ "proc-environ", "read a neighbour's environment", "proc(5)", "pid namespace", proc_environment },
	{ "proc-root", "read a file by a neighbour's root", "proc(5)", "pid namespace", proc_root },
	{ "proc-cwd", "read a file by a neighbour's working directory", "proc(5)", "pid namespace", proc_cwd },
	{ "proc-fd", "open a neighbour's descriptor by /proc", "proc(5)", "pid namespace", proc_descriptor },
	{ "pidfd-getfd", "copy a neighbour's descriptor", "pidfd_getfd(2)", "pid namespace, seccomp",
	  steal_descriptor },
	{ "pidfs-handle", "reach a neighbour by a pidfs file handle", "Linux 6.14", "pid namespace, seccomp",
	  pidfs_handle },
	{ "proc-list", "find a neighbour in /proc", "proc(5)", "pid namespace", see_neighbours },
	{ "kill", "signal a neighbour", "kill(2)", "pid namespace", send_signal },
	{ "sigqueue", "queue a signal to a neighbour", "sigqueue(3)", "pid namespace", queue_signal },
	{ "pidfd-signal", "signal a neighbour by a pidfd", "pidfd_send_signal(2)", "pid namespace", pidfd_signal },
	{ "outside-process-group", "signal processes outside by the process group", "kill(2)", "session",
	  outside_group },
	{ "prlimit", "change a neighbour's limits", "prlimit(2)", "pid namespace", limits_of_others },
	{ "sched-setaffinity", "change a neighbour's processors", "sched_setaffinity(2)", "pid namespace",
	  processors_of_others },
	{ "kcmp", "compare kernel objects with a neighbour's", "kcmp(2)", "pid namespace, seccomp",
	  compare_kernel_objects },
	{ "init-memory", "read the memory of process 1, which is the launcher's", "CVE-2016-8659",
	  "not dumpable, user", init_memory },
	{ "init-environ", "read the environment of process 1", "proc(5)", "not dumpable, user", init_environment },
	{ "init-fd", "list the descriptors of process 1", "proc(5)", "not dumpable, user", init_descriptors },
	{ "init-root", "read a file by the root of process 1", "proc(5)", "mount namespace", init_root },
};
THEME(processes);
