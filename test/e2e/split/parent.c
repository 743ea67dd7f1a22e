/* A parent and its helper, in one program that knows nothing of Bulkhead.
 *
 *   parent case HELPER      runs one case and prints what it saw
 *   helper verb ...         what the cases execute
 *
 * The tests run each case twice, with a helper that is executed in the
 * parent's own compartment and with one that another component replaces, and
 * compare what was printed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static const char *helper;

static void caught(int number) { (void)!write(1, number == SIGUSR1 ? "usr1\n" : number == SIGCONT ? "cont\n" : "other\n", number == SIGUSR1 || number == SIGCONT ? 5 : 6); }

static void facts(int argc, char **argv)
{
	size_t length = 0, hash = 5381;
	for (int i = 1; i < argc; i++) {
		length += strlen(argv[i]);
		for (char *p = argv[i]; *p; p++)
			hash = hash * 33 + *p;
	}
	printf("argv[0] %s, %d arguments of %zu bytes, %zx\n", argv[0], argc, length, hash);
	length = 0, hash = 0;
	int count = 0;
	for (char **e = environ; *e; e++, count++) {
		length += strlen(*e);
		size_t one = 5381;
		for (char *p = *e; *p; p++)
			one = one * 33 + *p;
		hash += one;
	}
	printf("%d variables of %zu bytes, %zx\n", count, length, hash);
	printf("descriptors");
	for (int fd = 0; fd < 2000; fd++) {
		struct stat st;
		if (fstat(fd, &st) == 0)
			printf(" %d:%o:%c", fd, st.st_mode & S_IFMT, "rwb"[fcntl(fd, F_GETFL) & O_ACCMODE]);
	}
	printf("\n");
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	printf("signals");
	for (int i = 1; i < NSIG; i++) {
		struct sigaction a;
		if (sigismember(&blocked, i) == 1)
			printf(" blocked %d", i);
		if (sigaction(i, NULL, &a) == 0 && a.sa_handler == SIG_IGN)
			printf(" ignored %d", i);
	}
	mode_t mask = umask(0);
	char cwd[4096];
	printf("\numask %o, nice %d, in %s\n", mask, getpriority(PRIO_PROCESS, 0), getcwd(cwd, sizeof cwd) ? cwd : "nowhere");
	struct rlimit files, size, stack;
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_FSIZE, &size);
	getrlimit(RLIMIT_STACK, &stack);
	printf("limits: files %ld of %ld, size %ld, stack %ld\n", (long)files.rlim_cur, (long)files.rlim_max, (long)size.rlim_cur, (long)stack.rlim_cur);
}

static void ticks(void)
{
	for (;;) {
		(void)!write(1, ".", 1);
		usleep(10000);
	}
}

static int be_helper(int argc, char **argv)
{
	const char *verb = argv[1];
	if (!strcmp(verb, "facts"))
		facts(argc, argv);
	else if (!strcmp(verb, "exit"))
		return atoi(argv[2]);
	else if (!strcmp(verb, "die")) {
		raise(atoi(argv[2]));
		sleep(10);
	} else if (!strcmp(verb, "connect")) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		snprintf(a.sun_path, sizeof a.sun_path, "%s", argv[2]);
		if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
			printf("connect: %s\n", strerror(errno));
		else
			(void)!write(fd, "hello", 5);
	} else if (!strcmp(verb, "memory")) {
		int *shared, fd = open(argv[2], O_RDWR);
		if (fd < 0 || (shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
			printf("memory: %s\n", strerror(errno));
		else
			*shared = 42;
	} else if (!strcmp(verb, "segment")) {
		printf("segment: %s\n", shmget(1234, 4096, 0600) < 0 ? "not there" : "there");
	} else if (!strcmp(verb, "sleep"))
		sleep(1000);
	else if (!strcmp(verb, "short"))
		usleep(20000);
	else if (!strcmp(verb, "numbers")) {
		for (int fd = 50; fd < 70; fd++)
			if (fcntl(fd, F_GETFD) >= 0)
				printf("has %d\n", fd);
	} else if (!strcmp(verb, "pid"))
		printf("%d\n", getpid());
	else if (!strcmp(verb, "cat")) {
		char b[4096];
		long n;
		while ((n = read(0, b, sizeof b)) > 0)
			(void)!write(1, b, n);
	} else if (!strcmp(verb, "ticks"))
		ticks();
	else if (!strcmp(verb, "signals")) {
		signal(SIGUSR1, caught);
		signal(SIGCONT, caught);
		signal(SIGHUP, caught);
		(void)!write(1, "ready\n", 6);
		for (;;)
			pause();
	} else if (!strcmp(verb, "stop")) {
		raise(atoi(argv[2]));
		return 5;
	} else if (!strcmp(verb, "orphans")) {
		pid_t pid = fork();
		if (pid == 0)
			ticks();
		return pid < 0 ? errno : 0;
	} else if (!strcmp(verb, "argv0")) {
		printf("%s\n", argv[0]);
	}
	fflush(stdout);
	return 0;
}

static pid_t run(char **argv, int out)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (out >= 0 && out != 1)
			dup2(out, 1);
		execv(helper, argv);
		perror(helper);
		_exit(127);
	}
	return pid;
}

static void told(const char *what, int status)
{
	if (WIFEXITED(status))
		printf("%s: exited with %d\n", what, WEXITSTATUS(status));
	else
		printf("%s: killed by %d\n", what, WTERMSIG(status));
}

static void end(const char *what, pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) != pid)
		printf("%s: lost\n", what);
	else
		told(what, status);
}

#define RUN(out, ...) run((char *[]){ "the helper", __VA_ARGS__, NULL }, out)

static void next_line(int fd, char *line, size_t size)
{
	size_t n = 0;
	while (n < size - 1 && read(fd, line + n, 1) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = 0;
}

/* Whether something comes out of a pipe within so many milliseconds. */
static int comes(int fd, int wait)
{
	struct pollfd p = { fd, POLLIN, 0 };
	return poll(&p, 1, wait) == 1 && p.revents & POLLIN;
}

static void drain(int fd)
{
	char b[4096];
	while (comes(fd, 0) && read(fd, b, sizeof b) > 0)
		;
}

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void statuses(void)
{
	static const char *codes[] = { "0", "1", "77", "126", "255" };
	for (int i = 0; i < 5; i++)
		end(codes[i], RUN(-1, "exit", (char *)codes[i]));
	static const char *signals[] = { "1", "2", "3", "6", "8", "9", "11", "15", "34", "64" };
	for (int i = 0; i < 10; i++)
		end(signals[i], RUN(-1, "die", (char *)signals[i]));
	struct rusage usage;
	printf("rusage of children: %d\n", getrusage(RUSAGE_CHILDREN, &usage));
}

static void ways(void)
{
	char *argv[] = { "the helper", "exit", "3", NULL };
	pid_t pid;
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 9, "/dev/null", O_RDONLY, 0);
	posix_spawnattr_t attributes;
	posix_spawnattr_init(&attributes);
	sigset_t all;
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	printf("posix_spawn: %d\n", posix_spawn(&pid, helper, &actions, &attributes, argv, environ));
	end("posix_spawn", pid);
	char *facts[] = { "the helper", "facts", NULL };
	fflush(stdout);
	int spawned = posix_spawn(&pid, helper, &actions, &attributes, facts, environ);
	end("posix_spawn with facts", pid);
	printf("posix_spawn: %d\n", spawned);
	pid = vfork();
	if (pid == 0) {
		execv(helper, argv);
		_exit(127);
	}
	end("vfork", pid);
	int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
	(void)none;
	fflush(stdout);
	FILE *p = popen("exit 0", "r"); /* there is no shell */
	printf("popen: %d\n", p ? WEXITSTATUS(pclose(p)) : -1);
}

static void inheritance(void)
{
	static char text[400], *argv[304], variable[110 * 1024];
	argv[0] = "the helper";
	argv[1] = "facts";
	for (int i = 2; i < 302; i++) {
		snprintf(text, sizeof text, "argument %d %0*d", i, i, i);
		argv[i] = strdup(i == 50 ? "" : i == 51 ? "line\nbreak" : text);
	}
	memset(variable, 'x', sizeof variable - 1);
	memcpy(variable, "LONG=", 5);
	putenv(variable);
	setenv("EMPTY", "", 1);
	fflush(stdout);
	end("many arguments", run(argv, -1));

	for (int i = 100; i < 400; i++)
		dup2(i % 2 ? 0 : 1, i);
	int pair[2];
	(void)!pipe(pair);
	dup2(pair[0], 777);
	fflush(stdout);
	end("many descriptors", RUN(-1, "facts"));
	for (int i = 100; i < 400; i++)
		close(i);
	close(777);
	close(pair[0]);
	close(pair[1]);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	umask(027);
	(void)!chdir("/tmp");
	(void)!nice(3);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 100, 200 });
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1000000, 2000000 });
	fflush(stdout);
	end("process", RUN(-1, "facts"));
}

static void pids(void)
{
	for (int i = 0; i < 3; i++) {
		int out[2];
		char line[64];
		(void)!pipe2(out, O_CLOEXEC);
		pid_t pid = RUN(out[1], "pid");
		next_line(out[0], line, sizeof line);
		printf("it knows its pid: %s\n", atoi(line) == pid ? "yes" : "no");
		end("pid", pid);
		close(out[0]);
		close(out[1]);
	}
}

static void signals(void)
{
	int out[2];
	char line[64];
	(void)!pipe2(out, O_CLOEXEC);
	pid_t pid = RUN(out[1], "signals");
	next_line(out[0], line, sizeof line);
	printf("%s", line);
	kill(pid, SIGUSR1);
	next_line(out[0], line, sizeof line);
	printf("%s", line);
	kill(pid, SIGHUP);
	next_line(out[0], line, sizeof line);
	printf("%s", line);
	kill(pid, SIGWINCH); /* ignored by default */
	kill(pid, SIGTERM);
	end("terminated", pid);

	pid = fork(); /* a group of its own, signalled as one */
	if (pid == 0) {
		setpgid(0, 0);
		dup2(out[1], 1);
		execl(helper, "the helper", "signals", NULL);
		_exit(127);
	}
	setpgid(pid, pid);
	next_line(out[0], line, sizeof line);
	kill(-pid, SIGUSR1);
	next_line(out[0], line, sizeof line);
	printf("group: %s", line);
	kill(-pid, SIGINT);
	end("group", pid);
}

static void stops(void)
{
	int out[2], status;
	(void)!pipe2(out, O_CLOEXEC | O_NONBLOCK);
	static const char *itself[] = { "19", "20", "21" };
	for (int i = 0; i < 3; i++) {
		/* A group of its own that is not orphaned: what a shell makes. */
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			execl(helper, "the helper", "stop", itself[i], NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
			printf("stop %s: not stopped\n", itself[i]);
		else
			printf("stop %s: stopped by %d\n", itself[i], WSTOPSIG(status));
		kill(pid, SIGCONT);
		if (waitpid(pid, &status, WCONTINUED) != pid)
			printf("lost\n");
		else if (WIFCONTINUED(status))
			end("stop", pid);
		else /* it goes on, and may have ended before anybody looked */
			told("stop", status);
	}
	static const int by[] = { SIGSTOP, SIGTSTP };
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			dup2(out[1], 1);
			execl(helper, "the helper", "ticks", NULL);
			_exit(127);
		}
		printf("ticks: %d\n", comes(out[0], 5000));
		kill(pid, by[i]);
		waitpid(pid, &status, WUNTRACED);
		printf("stopped by %d\n", WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
		int silent = 0;
		for (int tries = 0; tries < 50 && !silent; tries++) {
			drain(out[0]);
			silent = !comes(out[0], 100);
		}
		printf("silent: %d\n", silent);
		kill(pid, SIGCONT);
		printf("goes on: %d\n", comes(out[0], 5000));
		kill(pid, SIGKILL);
		end("killed", pid);
		/* Nobody but this process has the pipe when the helper is gone. */
		drain(out[0]);
	}
}

static void killed(void)
{
	int out[2];
	char b[4096];
	(void)!pipe2(out, O_CLOEXEC);
	pid_t pid = RUN(out[1], "ticks");
	close(out[1]);
	printf("ticks: %d\n", comes(out[0], 5000));
	kill(pid, SIGKILL);
	end("killed", pid);
	long from = now();
	while (read(out[0], b, sizeof b) > 0)
		;
	long took = now() - from;
	printf("gone after %ld ms\n", took);
	printf("gone within a second: %d\n", took < 1000);
}

static void pipeline(void)
{
	int one[2], two[2];
	(void)!pipe2(one, O_CLOEXEC);
	(void)!pipe2(two, O_CLOEXEC);
	pid_t first = fork();
	if (first == 0) {
		dup2(one[0], 0);
		dup2(two[1], 1);
		execl(helper, "first", "cat", NULL);
		_exit(127);
	}
	pid_t second = fork();
	if (second == 0) {
		dup2(two[0], 0);
		execl(helper, "second", "cat", NULL);
		_exit(127);
	}
	close(one[0]);
	close(two[0]);
	close(two[1]);
	(void)!write(one[1], "through both\n", 13);
	close(one[1]);
	int status[2];
	waitpid(first, &status[0], 0);
	waitpid(second, &status[1], 0);
	printf("pipeline: %d %d\n", status[0], status[1]);
}

static void orphans(void)
{
	int out[2];
	(void)!pipe2(out, O_CLOEXEC);
	pid_t pid = RUN(out[1], "orphans");
	end("parent of orphans", pid);
	for (int i = 0; i < 3; i++) {
		drain(out[0]);
		printf("they go on: %d\n", comes(out[0], 5000));
	}
}

/* Descriptors of every kind, at numbers that the tests know. */
static void kinds(void)
{
	struct { const char *what; int fd; } all[] = {
		{ "file", open("/etc/passwd", O_RDONLY) },
		{ "pipe", 0 }, { "socket", 0 },
		{ "device", open("/dev/null", O_RDONLY) },
		{ "memory", memfd_create("m", 0) },
		{ "events", eventfd(0, 0) },
		{ "epoll", epoll_create1(0) },
		{ "directory", open("/tmp", O_RDONLY | O_DIRECTORY) },
		{ "named", open(getenv("NAMED"), O_RDONLY | O_DIRECTORY) },
		{ "path", open("/etc/passwd", O_PATH) },
		{ "proc", open("/proc/self/status", O_RDONLY) },
		{ "memory of a process", open("/proc/self/mem", O_RDWR) },
		{ "namespace", open("/proc/self/ns/net", O_RDONLY) },
		{ "pidfd", syscall(SYS_pidfd_open, getpid(), 0) },
	};
	int pair[2];
	(void)!pipe(pair);
	all[1].fd = pair[0];
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	all[2].fd = pair[0];
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		printf("%s at %zu%s\n", all[i].what, 50 + i, all[i].fd < 0 ? ": not to be had" : "");
		if (all[i].fd >= 0)
			dup2(all[i].fd, 50 + i);
	}
	end("kinds", RUN(-1, "numbers"));
}

/* What a parent that was taken over may try. */
static void claims(void)
{
	errno = 0;
	long got = syscall(16968);
	printf("the call: %ld, errno %d\n", got, errno);
	for (int i = 100; i < 700; i++)
		dup2(0, i);
	end("too many descriptors", RUN(-1, "exit", "0"));
	for (int i = 100; i < 700; i++)
		close(i);
	pid_t all[3];
	for (int i = 0; i < 3; i++) {
		all[i] = RUN(-1, "sleep");
		usleep(200000);
	}
	end("one more than may wait", all[2]);
	kill(all[0], SIGKILL);
	end("the first", all[0]);
	kill(all[1], SIGTERM);
	end("the second, which waited", all[1]);
	pid_t first = RUN(-1, "sleep");
	usleep(200000);
	pid_t waits = RUN(-1, "exit", "4");
	usleep(200000);
	kill(waits, SIGKILL);
	end("killed while it waited", waits);
	kill(first, SIGKILL);
	end("the other", first);
	end("afterwards", RUN(-1, "exit", "6"));
}

/* What the policy of both names is shared: a socket and memory in a directory. */
static void shares(void)
{
	char path[200], b[16] = "";
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", getenv("NAMED"));
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	umask(0);
	if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 5) < 0)
		perror("socket");
	end("connect", RUN(-1, "connect", a.sun_path));
	struct pollfd p = { listener, POLLIN, 0 };
	if (poll(&p, 1, 0) == 1) {
		int fd = accept(listener, NULL, NULL);
		(void)!read(fd, b, sizeof b - 1);
	}
	printf("it said: %s\n", b);
	snprintf(path, sizeof path, "%s/memory", getenv("NAMED"));
	int fd = open(path, O_RDWR | O_CREAT, 0666), *shared;
	(void)!ftruncate(fd, 4096);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	end("memory", RUN(-1, "memory", path));
	printf("it wrote: %d\n", *shared);
	printf("segment: %s\n", shmget(1234, 4096, IPC_CREAT | 0666) < 0 ? strerror(errno) : "made");
	end("segment", RUN(-1, "segment"));
	unlink(a.sun_path);
}

static void waits(void)
{
	end("sleeper", RUN(-1, "sleep"));
}

/* One helper after the other, whatever becomes of them. */
static void forever(void)
{
	for (;;) {
		pid_t pid = RUN(-1, "short");
		int status;
		waitpid(pid, &status, 0);
		printf("%s\n", status == 0 ? "good" : "bad");
	}
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } cases[] = {
		{ "statuses", statuses }, { "ways", ways }, { "inheritance", inheritance }, { "pids", pids },
		{ "signals", signals }, { "stops", stops }, { "killed", killed }, { "pipeline", pipeline },
		{ "orphans", orphans }, { "kinds", kinds }, { "claims", claims }, { "forever", forever }, { "waits", waits }, { "shares", shares },
	};
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4 || strcmp(argv[1], "parent"))
		return be_helper(argc, argv);
	helper = argv[3];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (!strcmp(cases[i].name, argv[2]))
			cases[i].run();
	printf("end of %s\n", argv[2]);
	pause();
}
