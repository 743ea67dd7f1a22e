/* Floods. STOPPED means bounded: the caller gives the bound that the policy sets
 * (PROBE_LIMIT_*), and the probe tries to get a little more than that, never
 * without end. */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#define MEBIBYTE (1024L * 1024L)

static enum verdict count_verdict(long got, long limit, const char *things, int failure)
{
	if (got > limit)
		return escaped("%ld %s where %ld are allowed", got, things, limit);
	return stopped("%ld %s, then %s", got, things, errno_name(failure));
}

static enum verdict processes(void)
{
	long limit = target_number("PROBE_LIMIT_PROCESSES", 64), got = 1;
	pid_t children[4096];
	int failure = 0;

	if (limit > 4000)
		return untested("a limit of %ld processes is too high to be tried", limit);
	while (got <= limit) {
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
		if (pid < 0) {
			failure = errno;
			break;
		}
		children[got++ - 1] = pid;
	}
	for (long i = 0; i < got - 1; i++)
		kill(children[i], SIGKILL);
	for (long i = 0; i < got - 1; i++)
		waitpid(children[i], NULL, 0);
	return count_verdict(got, limit, "processes", failure);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *wait_at_gate(void *unused)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return unused;
}

/* Threads count as processes for the pids controller. */
static enum verdict threads(void)
{
	long limit = target_number("PROBE_LIMIT_PROCESSES", 64), got = 1;
	pthread_t thread;
	int failure = 0;

	if (limit > 4000)
		return untested("a limit of %ld threads is too high to be tried", limit);
	pthread_mutex_lock(&gate);
	while (got <= limit) {
		failure = pthread_create(&thread, NULL, wait_at_gate, NULL);
		if (failure)
			break;
		pthread_detach(thread);
		got++;
	}
	pthread_mutex_unlock(&gate);
	return count_verdict(got, limit, "threads", failure);
}

/* Step by step, so that a refusal or a kill comes at the limit and not at once. */
#define STEP (16 * MEBIBYTE)

static enum verdict memory(void)
{
	long limit = target_number("PROBE_LIMIT_MEMORY", 512 * MEBIBYTE), got = 0;

	while (got <= limit) {
		char *block = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED)
			return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB of memory", errno);
		for (long i = 0; i < STEP; i += 4096)
			block[i] = 1;
		got += STEP;
	}
	return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB of memory", 0);
}

/* Memory that belongs to a file and not to an address space. */
static enum verdict file_memory(void)
{
	static char block[MEBIBYTE];
	long limit = target_number("PROBE_LIMIT_MEMORY", 512 * MEBIBYTE), got = 0;
	int fd = memfd_create("probe", MFD_CLOEXEC);

	if (fd < 0)
		return refused("memfd_create");
	while (got <= limit) {
		ssize_t wrote = write(fd, block, sizeof block);
		if (wrote <= 0)
			return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB in a memfd", errno);
		got += wrote;
	}
	return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB in a memfd", 0);
}

static enum verdict descriptors(void)
{
	long limit = target_number("PROBE_LIMIT_DESCRIPTORS", 1024), highest = 0;
	struct rlimit allowed;

	/* The soft limit is the program's own to raise. */
	if (!getrlimit(RLIMIT_NOFILE, &allowed)) {
		allowed.rlim_cur = allowed.rlim_max;
		setrlimit(RLIMIT_NOFILE, &allowed);
	}
	while (highest < limit) {
		int fd = dup(STDOUT_FILENO);
		if (fd < 0)
			return count_verdict(highest + 1, limit, "descriptors", errno);
		highest = fd;
	}
	return count_verdict(highest + 1, limit, "descriptors", 0);
}

static enum verdict disk(void)
{
	static char block[MEBIBYTE];
	char path[64];
	long limit = target_number("PROBE_LIMIT_DISK", 256 * MEBIBYTE), got = 0;
	const char *where = writable_directory();

	if (!where)
		return stopped("nowhere to write");
	snprintf(path, sizeof path, "%s/.bulkhead-disk-%d", where, (int)getpid());
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused("open");
	unlink(path);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG tells more than a signal */
	/* Reserving is fast and takes the room for real; not every file system can. */
	if (!fallocate(fd, 0, 0, limit + MEBIBYTE))
		return escaped("%ld MiB of %s where %ld are allowed", limit / MEBIBYTE + 1, where, limit / MEBIBYTE);
	while (got <= limit) {
		ssize_t wrote = write(fd, block, sizeof block);
		if (wrote <= 0)
			return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB on disk", errno);
		got += wrote;
	}
	return count_verdict(got / MEBIBYTE, limit / MEBIBYTE, "MiB on disk", 0);
}

/* Empty files take no room and yet use up what a file system has. */
static enum verdict files(void)
{
	char directory[64], path[128];
	long limit = target_number("PROBE_LIMIT_FILES", 4096), got = 0;
	const char *where = writable_directory();
	int failure = 0;

	if (!where)
		return stopped("nowhere to write");
	snprintf(directory, sizeof directory, "%s/.bulkhead-files-%d", where, (int)getpid());
	if (mkdir(directory, 0700))
		return refused("mkdir");
	while (got <= limit) {
		snprintf(path, sizeof path, "%s/%ld", directory, got);
		if (mknod(path, S_IFREG | 0600, 0)) {
			failure = errno;
			break;
		}
		got++;
	}
	for (long i = 0; i < got; i++) {
		snprintf(path, sizeof path, "%s/%ld", directory, i);
		unlink(path);
	}
	rmdir(directory);
	return count_verdict(got, limit, "files", failure);
}

/* Counted for each user on the whole machine: a neighbour goes without. */
static enum verdict watches(void)
{
	long limit = target_number("PROBE_LIMIT_INOTIFY", 64), got = 0;

	while (got <= limit) {
		if (inotify_init1(IN_CLOEXEC) < 0)
			return count_verdict(got, limit, "inotify instances", errno);
		got++;
	}
	return count_verdict(got, limit, "inotify instances", 0);
}

/* Kernel memory by full pipes. */
static enum verdict pipes(void)
{
	static char block[65536];
	long limit = target_number("PROBE_LIMIT_PIPES", 16 * MEBIBYTE), got = 0;
	int ends[2];

	while (got <= limit) {
		if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
			return count_verdict(got / 1024, limit / 1024, "KiB in pipes", errno);
		fcntl(ends[1], F_SETPIPE_SZ, (int)sizeof block * 16);
		for (ssize_t wrote; (wrote = write(ends[1], block, sizeof block)) > 0; got += wrote)
			;
	}
	return count_verdict(got / 1024, limit / 1024, "KiB in pipes", 0);
}

/* As RLIMIT_CPU counts it: by ticks (CPUCLOCK_PROF of this process, kernel/time/posix-cpu-timers.c).
 * CLOCK_PROCESS_CPUTIME_ID runs on while an emulated processor stands still, and ticks are lost. */
#define TICKS_OF_THIS_PROCESS ((clockid_t)(~0U << 3))

static double processor_seconds(void)
{
	struct timespec used = { 0 };
	clock_gettime(TICKS_OF_THIS_PROCESS, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static volatile int spinning = 1;

static void *spin(void *unused)
{
	while (spinning)
		;
	return unused;
}

/* Uses up a little more processor time than is allowed. A second thread makes it
 * faster where there is one; on a busy machine it may take longer than other probes. */
static enum verdict processor_time(void)
{
	unsigned most = 2 * probe_seconds();
	double limit = (double)target_number("PROBE_LIMIT_CPU_SECONDS", 1);
	struct timespec start, now;
	pthread_t thread;

	alarm(most + 1);
	int helped = !pthread_create(&thread, NULL, spin, NULL);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec >= most)
			break;
	} while (processor_seconds() < limit + 0.3);
	double used = processor_seconds();
	spinning = 0;
	if (helped)
		pthread_join(thread, NULL);
	if (used >= limit + 0.3)
		return escaped("used %.1f s of processor time where %.0f are allowed", used, limit);
	/* Throttled by a cgroup or by a busy machine: from inside both look alike. */
	return untested("only %.1f s of processor time within %u s", used, most);
}

static enum verdict real_time(void)
{
	struct sched_param parameter = { .sched_priority = 1 };
	/* musl does not offer sched_setscheduler, as POSIX means another scope. */
	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &parameter))
		return refused("sched_setscheduler");
	return escaped("runs before everything else in real time");
}

static enum verdict priority(void)
{
	errno = 0;
	int before = getpriority(PRIO_PROCESS, 0);
	if (setpriority(PRIO_PROCESS, 0, before - 5))
		return refused("setpriority");
	return getpriority(PRIO_PROCESS, 0) < before ? escaped("raised its priority")
						     : stopped("setpriority had no effect");
}

static enum verdict disk_priority(void)
{
	enum { WHO_PROCESS = 1, REAL_TIME = 1 << 13 };
	if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, REAL_TIME | 4))
		return refused("ioprio_set");
	return escaped("uses the disk before everybody else");
}

/* Priority of a whole session against all others. */
static enum verdict session_priority(void)
{
	static const char path[] = "/proc/self/autogroup";
	if (write_file(path, "-5"))
		return refused(path);
	write_file(path, "0");
	return escaped("raised the priority of its session");
}

/* A timer that wakes the machine from its sleep. */
static enum verdict wake_machine(void)
{
	int fd = timerfd_create(9 /* CLOCK_BOOTTIME_ALARM */, TFD_CLOEXEC);
	return fd < 0 ? refused("timerfd_create") : escaped("has a timer that wakes the machine");
}

/* Memory that is locked cannot be taken back. */
static enum verdict locked_memory(void)
{
	long limit = target_number("PROBE_LIMIT_LOCKED", 16 * MEBIBYTE);
	size_t size = (size_t)limit + MEBIBYTE;
	void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (block == MAP_FAILED)
		return refused("mmap");
	if (mlock(block, size))
		return refused("mlock");
	return escaped("locked %ld MiB where %ld are allowed", limit / MEBIBYTE + 1, limit / MEBIBYTE);
}

static const struct probe resources_probes[] = {
	{ "flood-processes", "have more processes than allowed", "fork(2)", "cgroup, limits", processes },
	{ "flood-threads", "have more threads than allowed", "pthreads(7)", "cgroup, limits", threads },
	{ "flood-memory", "use more memory than allowed", "mmap(2)", "cgroup, limits", memory },
	{ "flood-memfd", "use more memory than allowed by a file in memory", "memfd_create(2)", "cgroup",
	  file_memory },
	{ "flood-locked-memory", "lock more memory than allowed", "mlock(2)", "limits, capabilities",
	  locked_memory },
	{ "flood-pipes", "fill more kernel memory than allowed by pipes", "pipe(7)", "cgroup, limits", pipes },
	{ "flood-descriptors", "open more descriptors than allowed", "getrlimit(2)", "limits", descriptors },
	{ "flood-disk", "write more than allowed", "fallocate(2)", "mount size, read-only root", disk },
	{ "flood-files", "make more files than allowed", "inode(7)", "mount size, read-only root", files },
	{ "flood-inotify", "make more inotify instances than allowed", "inotify(7)", "user namespace, seccomp",
	  watches },
	{ "flood-processor", "use more processor time than allowed", "getrlimit(2)", "limits", processor_time },
	{ "real-time", "run in real time", "sched(7)", "capabilities, limits", real_time },
	{ "raise-priority", "raise its own priority", "setpriority(2)", "capabilities, limits", priority },
	{ "disk-priority", "raise its own priority at the disk", "ioprio_set(2)", "capabilities", disk_priority },
	{ "session-priority", "raise the priority of its session", "sched(7)", "capabilities, limits", session_priority },
	{ "wake-machine", "wake the machine from its sleep", "timerfd_create(2)", "capabilities", wake_machine },
};
THEME(resources);
