/* Starts the builder before Go's runtime and this program's packages are ready: they
 * take two to four milliseconds, in which another processor would have nothing to do,
 * and the builder as long to get ready. It touches nothing before it has an order, and
 * ends where it gets none. What fails here is done again, with a message, by
 * startBuilder.
 */
#define _GNU_SOURCE
#include "early.h"
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct early early = { .socket = -1 };

/* Above what a service manager passes (LISTEN_FDS) and what has a fixed number. */
enum { FIRST_FD = 256, BUILDER_FD = 3 };

/* As Find of launch.go does, whose answer decides: beside this program, or where
 * an installation has it. It returns how long the name of the directory is. */
static int find(char *self, char *program, size_t size)
{
	static const char *const places[] = { "libexec", "libexec/sandbox" };

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char *end = strrchr(self, '/');
		if (!end)
			break;
		*end = 0;
		int n = snprintf(program, size, "%s/%s/builder", self, places[i]);
		if (n > 0 && (size_t)n < size && access(program, X_OK) == 0)
			return n - (int)strlen("/builder");
	}
	return -1;
}

static int moved(int fd)
{
	int away = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
	close(fd);
	return away;
}

static int start(const char *program, int libexec, int far)
{
	char directory[sizeof early.program];
	char *arguments[] = { (char *)program, directory, NULL };
	/* With one processor Go starts faster, here and in libcontainer's processes,
	 * to which it is passed on. */
	char *environment[] = { "GOMAXPROCS=1", NULL };
	posix_spawn_file_actions_t actions;
	int failed;

	memcpy(directory, program, (size_t)libexec);
	directory[libexec] = 0;
	if (posix_spawn_file_actions_init(&actions))
		return -1;
	failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
		|| posix_spawn_file_actions_adddup2(&actions, 0, 1)
		|| posix_spawn_file_actions_adddup2(&actions, far, BUILDER_FD)
		/* What a service manager passed is the launcher's: nobody has taken it yet. */
		|| posix_spawn_file_actions_addclosefrom_np(&actions, BUILDER_FD + 1)
		|| posix_spawn_file_actions_addchdir_np(&actions, "/")
		|| posix_spawn(&early.pid, program, &actions, NULL, arguments, environment);
	posix_spawn_file_actions_destroy(&actions);
	return failed ? -1 : 0;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	char self[sizeof early.program];
	int pair[2], libexec;
	ssize_t n;

	if (argc < 2 || (strcmp(argv[1], "run") && strcmp(argv[1], "wrap")))
		return;
	/* Which it must not inherit (realtime.go). */
	int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
	if (policy == SCHED_FIFO || policy == SCHED_RR)
		return;
	/* Where one of these is missing, the sockets would stand there. */
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return;
	n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n <= 0)
		return;
	self[n] = 0;
	libexec = find(self, early.program, sizeof early.program);
	if (libexec < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	pair[0] = moved(pair[0]);
	pair[1] = moved(pair[1]);
	if (pair[0] >= 0 && pair[1] >= 0 && start(early.program, libexec, pair[1]) == 0)
		early.socket = pair[0];
	else if (pair[0] >= 0)
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}
