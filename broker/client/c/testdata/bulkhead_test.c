/* Tests of the C client, in C and in C++; c_test.go runs each against its own peer. */
#include "../bulkhead.h"

#include <dirent.h>
#include <signal.h>
#include <sys/un.h>

static struct bulkhead broker;

#define CHECK(condition)                                                                                  \
	do {                                                                                              \
		if (!(condition)) {                                                                       \
			fprintf(stderr, "line %d: %s does not hold (%s)\n", __LINE__, #condition, strerror(errno)); \
			exit(1);                                                                          \
		}                                                                                         \
	} while (0)

#define FAILS(call, error)          \
	do {                        \
		errno = 0;          \
		CHECK((call) == -1); \
		CHECK(errno == (error)); \
	} while (0)

static int open_files(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	CHECK(directory != NULL);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/* Whether fd reads as text; closes it. */
static int reads(int fd, const char *text)
{
	char buffer[256];
	size_t size = 0;
	ssize_t n;

	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	while ((n = read(fd, buffer + size, sizeof buffer - size)) > 0)
		size += (size_t)n;
	CHECK(n == 0 && close(fd) == 0);
	return size == strlen(text) && memcmp(buffer, text, size) == 0;
}

/* Start component with text as its input; return the reading end of its output. */
static int run(struct bulkhead_worker *w, const char *component, const char *text)
{
	int in[2], out[2], numbers[] = { 0, 1 }, fds[2];

	CHECK(pipe(in) == 0 && pipe(out) == 0 && fcntl(out[0], F_SETFD, FD_CLOEXEC) == 0);
	fds[0] = in[0];
	fds[1] = out[1];
	CHECK(bulkhead_start(&broker, w, component, 2, numbers, fds) == 0);
	CHECK(write(in[1], text, strlen(text)) == (ssize_t)strlen(text));
	close(in[0]);
	close(in[1]);
	close(out[1]);
	return out[0];
}

static void test_open(void)
{
	int fd;

	CHECK(reads(bulkhead_open(&broker, "store", "greeting", O_RDONLY | O_CLOEXEC, 0644), "hello\n"));
	CHECK(reads(bulkhead_open(&broker, "motd", "", O_RDONLY, 0), "motd\n"));
	fd = bulkhead_open(&broker, "store", "new", O_WRONLY | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0 && write(fd, "made", 4) == 4 && close(fd) == 0);
	CHECK(reads(bulkhead_open(&broker, "store", "new", O_RDONLY, 0), "made"));
	FAILS(bulkhead_open(&broker, "store", "new", O_WRONLY | O_CREAT | O_EXCL, 0600), EEXIST);
}

static void test_errors(void)
{
	static char large[5000];
	struct bulkhead_worker w;
	int before = open_files(), fds[BULKHEAD_MAXIMUM_FDS + 1] = { 0 };

	FAILS(bulkhead_open(&broker, "nothing", "", O_RDONLY, 0), ENOENT);
	FAILS(bulkhead_open(&broker, "store", "absent", O_RDONLY, 0), ENOENT);
	FAILS(bulkhead_open(&broker, "store", "", O_RDONLY, 0), EISDIR);
	FAILS(bulkhead_open(&broker, "store", "greeting", O_DIRECTORY, 0), EINVAL);
	FAILS(bulkhead_connect(&broker, "motd"), EINVAL);
	FAILS(bulkhead_start(&broker, &w, "forbidden", 0, NULL, NULL), EPERM);
	FAILS(bulkhead_start(&broker, &w, "busy", 0, NULL, NULL), EAGAIN);
	FAILS(bulkhead_start(&broker, &w, "upper", BULKHEAD_MAXIMUM_FDS + 1, fds, fds), EMSGSIZE);
	FAILS(bulkhead_fetch(&broker, "nothing", fds), ENOENT);
	FAILS(bulkhead_store(&broker, "x", 999), EBADF);
	memset(large, 'x', sizeof large - 1);
	FAILS(bulkhead_status(&broker, large), EMSGSIZE);
	CHECK(bulkhead_ready(&broker) == 0);
	CHECK(open_files() == before);
}

static void test_sockets(void)
{
	struct sockaddr_un address;
	socklen_t size = sizeof address;
	char buffer[4];
	int echo = bulkhead_connect(&broker, "echo"), http, client, accepted;

	CHECK(echo >= 0 && fcntl(echo, F_GETFD) == FD_CLOEXEC);
	CHECK(write(echo, "ping", 4) == 4 && read(echo, buffer, 4) == 4 && memcmp(buffer, "ping", 4) == 0);
	http = bulkhead_listen(&broker, "http");
	CHECK(http >= 0 && fcntl(http, F_GETFD) == FD_CLOEXEC);
	CHECK(getsockname(http, (struct sockaddr *)&address, &size) == 0);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(client, (struct sockaddr *)&address, size) == 0);
	accepted = accept(http, NULL, NULL);
	CHECK(accepted >= 0);
	close(accepted);
	close(client);
	close(http);
	close(echo);
}

static void test_life(void)
{
	int null = open("/dev/null", O_RDONLY), fds[BULKHEAD_MAXIMUM_FDS], round, i;

	CHECK(bulkhead_ready(&broker) == 0);
	CHECK(bulkhead_status(&broker, "serving") == 0);
	CHECK(bulkhead_watchdog(&broker) == 0);
	CHECK(bulkhead_store(&broker, "null", null) == 0 && bulkhead_store(&broker, "null", null) == 0);
	close(null);
	for (round = 0; round < 2; round++) {
		CHECK(bulkhead_fetch(&broker, "null", fds) == 2);
		for (i = 0; i < 2; i++)
			CHECK(fcntl(fds[i], F_GETFD) == FD_CLOEXEC && close(fds[i]) == 0);
	}
}

static void test_narrowing(void)
{
	const char *kept[] = { "echo", "motd" };
	int echo;

	CHECK(bulkhead_drop(&broker, "motd") == 0);
	FAILS(bulkhead_open(&broker, "motd", "", O_RDONLY, 0), EPERM);
	FAILS(bulkhead_drop(&broker, "nothing"), ENOENT);
	CHECK(bulkhead_seal(&broker, 2, kept) == 0);
	FAILS(bulkhead_open(&broker, "store", "greeting", O_RDONLY, 0), EPERM);
	FAILS(bulkhead_open(&broker, "motd", "", O_RDONLY, 0), EPERM);
	echo = bulkhead_connect(&broker, "echo");
	CHECK(echo >= 0);
	close(echo);
	FAILS(bulkhead_seal(&broker, 0, NULL), EPERM);
}

static void test_start(void)
{
	struct bulkhead_worker w;
	int before = open_files();

	CHECK(reads(run(&w, "upper", "loud"), "LOUD"));
	CHECK(bulkhead_wait(&broker, &w, -1) == 0 && bulkhead_ok(&w));
	CHECK(w.reason[0] == 0 && strcmp(bulkhead_result(&w), "exited with status 0") == 0);
	CHECK(reads(run(&w, "status", "3"), ""));
	CHECK(bulkhead_wait(&broker, &w, 10000) == 0 && w.how == BULKHEAD_EXITED && w.code == 3 && !bulkhead_ok(&w));
	CHECK(bulkhead_start(&broker, &w, "limited", 0, NULL, NULL) == 0);
	CHECK(bulkhead_wait(&broker, &w, -1) == 0 && w.how == BULKHEAD_SIGNALED && w.code == SIGKILL);
	CHECK(strcmp(w.reason, "wall-time limit of 5s reached") == 0);
	CHECK(bulkhead_start(&broker, &w, "absent", 0, NULL, NULL) == 0);
	CHECK(bulkhead_wait(&broker, &w, -1) == 0 && w.how == BULKHEAD_NOT_RUN && w.code == ENOENT);
	CHECK(open_files() == before);
}

/* Many at once, waited for in an order that is not theirs. */
static void test_many(void)
{
	enum { MANY = 60 };
	static struct bulkhead_worker workers[MANY], sleeper;
	static int outputs[MANY];
	char text[32], upper[32];
	int i;

	CHECK(bulkhead_start(&broker, &sleeper, "sleeper", 0, NULL, NULL) == 0);
	for (i = 0; i < MANY; i++) {
		snprintf(text, sizeof text, "worker %d", i);
		outputs[i] = run(&workers[i], "upper", text);
	}
	for (i = MANY - 1; i >= 0; i--) {
		snprintf(upper, sizeof upper, "WORKER %d", i);
		CHECK(reads(outputs[i], upper));
		CHECK(bulkhead_wait(&broker, &workers[i], -1) == 0 && bulkhead_ok(&workers[i]));
		CHECK(bulkhead_wait(&broker, &workers[i], 0) == 0);
	}
	CHECK(bulkhead_cancel(&broker, &sleeper) == 0);
	CHECK(bulkhead_wait(&broker, &sleeper, -1) == 0);
}

static void test_cancel(void)
{
	struct bulkhead_worker w;

	CHECK(bulkhead_start(&broker, &w, "sleeper", 0, NULL, NULL) == 0);
	FAILS(bulkhead_wait(&broker, &w, 20), ETIMEDOUT);
	CHECK(bulkhead_cancel(&broker, &w) == 0);
	CHECK(bulkhead_wait(&broker, &w, 10000) == 0 && w.how == BULKHEAD_SIGNALED);
	CHECK(strcmp(bulkhead_result(&w), "cancelled by tester") == 0);
	CHECK(bulkhead_cancel(&broker, &w) == 0);
}

static void test_gone(void)
{
	struct bulkhead_worker w;

	CHECK(bulkhead_start(&broker, &w, "sleeper", 0, NULL, NULL) == 0);
	FAILS(bulkhead_connect(&broker, "gone"), EPIPE);
	FAILS(bulkhead_wait(&broker, &w, -1), EPIPE);
	FAILS(bulkhead_ready(&broker), EPIPE);
}

static void test_accept(void)
{
	CHECK(reads(bulkhead_accept(&broker, "http"), "caller"));
	FAILS(bulkhead_accept(&broker, "motd"), EINVAL);
	FAILS(bulkhead_accept(&broker, "nothing"), ENOENT);
}

static void test_listen_fd(void)
{
	char pid[32];
	int http = bulkhead_listen(&broker, "http");

	/* 3 is the broker's here, and 4 the second of the list. */
	CHECK(http == 4);
	snprintf(pid, sizeof pid, "%ld", (long)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "https:http", 1);
	CHECK(bulkhead_listen_fd("http") == 4 && fcntl(4, F_GETFD) == FD_CLOEXEC);
	FAILS(bulkhead_listen_fd("htt"), ENOENT);
	setenv("LISTEN_FDS", "1", 1);
	FAILS(bulkhead_listen_fd("http"), ENOENT);
	setenv("LISTEN_PID", "1", 1);
	FAILS(bulkhead_listen_fd("https"), ENOENT);
}

static void test_bad(const char *name)
{
	int before = open_files();

	FAILS(bulkhead_connect(&broker, name), EPROTO);
	FAILS(bulkhead_ready(&broker), EPROTO);
	CHECK(open_files() == before);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "open", test_open },	       { "errors", test_errors },	{ "sockets", test_sockets },
		{ "life", test_life },	       { "narrowing", test_narrowing }, { "start", test_start },
		{ "many", test_many },	       { "cancel", test_cancel },	{ "gone", test_gone },
		{ "listen_fd", test_listen_fd },       { "accept", test_accept },
	};
	size_t i;

	if (argc == 1) {
		for (i = 0; i < sizeof tests / sizeof *tests; i++)
			puts(tests[i].name);
		return 0;
	}
	CHECK(bulkhead_begin(&broker) == 0);
	for (i = 0; i < sizeof tests / sizeof *tests; i++)
		if (strcmp(argv[1], tests[i].name) == 0)
			return tests[i].run(), 0;
	test_bad(argv[1]);
	return 0;
}
