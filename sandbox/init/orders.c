/* What the monitor tells a worker that waits: which descriptors it gets, what
 * is added to its environment, and that it may go. */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* Linux 5.11 */
#endif

/* Descriptors that the program gets, until they stand at their numbers. */
static struct { int fd; uint32_t number; } passed[MAX_PASSED];
static int passed_count, highest = 2;
static unsigned char is_passed[MAX_NUMBER];

/* Reads the count and the numbers of a packet; returns how long they are. */
static long take_descriptors(const char *packet, long n, const int *fds, int fd_count)
{
	uint32_t announced;
	errno = EPROTO;
	if (n < 8)
		return -1;
	memcpy(&announced, packet + 4, 4);
	if (announced != (uint32_t)fd_count || n < 8 + 4 * (long)announced || passed_count + fd_count > MAX_PASSED)
		return -1;
	for (int i = 0; i < fd_count; i++, passed_count++) {
		uint32_t number;
		memcpy(&number, packet + 8 + 4 * i, 4);
		if (number >= MAX_NUMBER)
			return -1;
		passed[passed_count].number = number;
		passed[passed_count].fd = fds[i];
		is_passed[number] = 1;
		if ((int)number > highest)
			highest = number;
	}
	return 8 + 4 * fd_count;
}

static int add_environment(struct spec *s, const char *packet, long from, long n)
{
	static char text[4096];
	errno = EPROTO;
	if (n > from && packet[n - 1] != 0)
		return -1;
	memcpy(text, packet, n);
	for (char *p = text + from; p < text + n; p += strlen(p) + 1) {
		if (s->environment_count == s->environment_room)
			return -1;
		s->environment[s->environment_count++] = p;
	}
	return 0;
}

/* What the monitor wants to run in the compartment beside its program, out of
 * the plan: a check of the program's health. */
static int replace_command(struct spec *s, const char *packet, long n)
{
	static char text[4096];
	errno = EPROTO;
	if (n <= 4 || packet[n - 1] != 0)
		return -1;
	memcpy(text, packet, n);
	s->program = text + 4;
	s->background = 0;
	s->argument_count = 0;
	for (char *p = text + 4; p < text + n; p += strlen(p) + 1)
		s->arguments[s->argument_count++] = p;
	s->arguments[s->argument_count] = NULL;
	return 0;
}

/* Moves *fd above every number that somebody else gets. Where that fails it
 * stays: by the socket the monitor is told why. */
static int raise(int *fd, int above)
{
	if (*fd > above)
		return 0;
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, above + 1);
	if (high < 0)
		return -1;
	close(*fd);
	*fd = high;
	return 0;
}

static int place(int *socket, int *listener)
{
	/* Out of the way first: a received descriptor may stand at the number
	 * that another one must get. */
	int above = highest > OWN_FDS ? highest : OWN_FDS;
	if (raise(socket, above) < 0 || (*listener >= 0 && raise(listener, above) < 0))
		return -1;
	for (int i = 0; i < passed_count; i++)
		if (raise(&passed[i].fd, highest) < 0)
			return -1;
	for (int i = 0; i < passed_count; i++) {
		if (dup2(passed[i].fd, passed[i].number) < 0)
			return -1;
		close(passed[i].fd);
	}
	return 0;
}

/* Everything but the passed descriptors goes at the exec. All of ours are
 * close-on-exec already; this is the second lock on that door. */
static int close_others(void)
{
	unsigned from = 0;
	for (int fd = 0; fd <= highest; fd++) {
		if (!is_passed[fd])
			continue;
		if (from < (unsigned)fd && syscall(SYS_close_range, from, fd - 1, CLOSE_RANGE_CLOEXEC) < 0)
			return -1;
		from = fd + 1;
	}
	return syscall(SYS_close_range, from, ~0U, CLOSE_RANGE_CLOEXEC);
}

int orders_follow(struct spec *s, int *socket, int *listener, const char **step)
{
	static char packet[4096];

	for (;;) {
		int fds[16], fd_count = 16;
		long n = message_receive(*socket, packet, sizeof packet, fds, &fd_count), used;
		uint32_t type = 0;

		if (n == 0)
			return ORDERS_NONE;
		*step = "read a message of the monitor";
		if (n < 0)
			return -1;
		if (n >= 4)
			memcpy(&type, packet, 4);
		errno = EPROTO;
		if (type == MSG_COMMAND && fd_count == 0) {
			if (replace_command(s, packet, n) < 0)
				return -1;
			continue;
		}
		if (type == MSG_PROCESS && fd_count == 1 && n == 4) {
			if (process_read(s, fds[0]) < 0)
				return -1;
			continue;
		}
		if (type != MSG_FDS && type != MSG_GO)
			return -1;
		if ((used = take_descriptors(packet, n, fds, fd_count)) < 0)
			return -1;
		if (type == MSG_FDS && used == n)
			continue;
		if (type == MSG_FDS || add_environment(s, packet, used, n) < 0)
			return -1;
		break;
	}
	/* Descriptors are moved out of each other's way first, to numbers that the
	 * soft limit of whoever started the application may not reach. */
	*step = "pass a descriptor";
	struct rlimit own, wide;
	if (getrlimit(RLIMIT_NOFILE, &own) < 0)
		return -1;
	wide = own;
	wide.rlim_cur = own.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &wide) < 0 || place(socket, listener) < 0 || setrlimit(RLIMIT_NOFILE, &own) < 0)
		return -1;
	*step = "close descriptors";
	return close_others();
}
