/* What a program that another component executed takes over from there: its
 * arguments and environment, and what execve(2) keeps of a process. */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns the next string, NULL when none ends before end. */
static char *next(char **at, char *end)
{
	char *text = *at, *zero = memchr(text, 0, end - text);
	if (!zero)
		return NULL;
	*at = zero + 1;
	return text;
}

/* A table of count pointers and extra free ones, the last NULL. */
static char **table(size_t count, size_t extra)
{
	void *p = mmap(NULL, (count + extra + 1) * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

int process_read(struct spec *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	errno = EPROTO;
	if (st.st_size < (long)sizeof(struct process_header))
		return -1;
	/* Private and writable: programs write into their arguments. */
	char *p = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), *end = p + st.st_size;
	if (p == MAP_FAILED)
		return -1;
	close(fd);

	const struct process_header *h = (const void *)p;
	p += sizeof *h;
	errno = EPROTO;
	/* Each string has at least its zero. */
	if (h->arguments < 1 || h->arguments > st.st_size || h->environment > st.st_size)
		return -1;
	const char *program = next(&p, end), *directory = program ? next(&p, end) : NULL;
	char **arguments = table(h->arguments, 0), **environment = table(h->environment, MAX_ADDED_ENVIRONMENT);
	if (!directory || !arguments || !environment)
		return -1;
	errno = EPROTO;
	for (uint32_t i = 0; i < h->arguments; i++)
		if (!(arguments[i] = next(&p, end)))
			return -1;
	for (uint32_t i = 0; i < h->environment; i++)
		if (!(environment[i] = next(&p, end)))
			return -1;
	if (p != end)
		return -1;
	s->program = program;
	s->directory = directory;
	s->arguments = arguments;
	s->argument_count = h->arguments;
	s->environment = environment;
	s->environment_count = h->environment;
	s->environment_room = h->environment + MAX_ADDED_ENVIRONMENT;
	s->process = h;
	return 0;
}

int process_inherit(const struct spec *s, uint32_t *notes, const char **step)
{
	const struct process_header *h = s->process;

	/* Where it is not there in this compartment, the policy's stays. */
	if (*s->directory && chdir(s->directory) < 0)
		*notes |= NOTE_DIRECTORY;
	if (h->umask != NO_UMASK)
		umask(h->umask);
	*step = "take over a resource limit";
	for (int i = 0; i < PROCESS_LIMITS; i++) {
		struct rlimit own, want = { h->limits[i][0], h->limits[i][1] };
		if (getrlimit(i, &own) < 0)
			return -1;
		if (want.rlim_max > own.rlim_max)
			want.rlim_max = own.rlim_max;
		if (want.rlim_cur > own.rlim_cur)
			want.rlim_cur = own.rlim_cur;
		if (want.rlim_cur > want.rlim_max)
			want.rlim_cur = want.rlim_max;
		if (setrlimit(i, &want) < 0)
			return -1;
	}
	/* A higher priority than it has takes a right that it may not have;
	 * the program runs without. */
	setpriority(PRIO_PROCESS, 0, h->nice);
	return 0;
}

int process_signals(const struct spec *s)
{
	for (int i = 1; i < NSIG; i++)
		if (s->process->ignored >> (i - 1) & 1 && i != SIGKILL && i != SIGSTOP)
			signal(i, SIG_IGN);
	sigset_t blocked;
	sigemptyset(&blocked);
	for (int i = 1; i < NSIG; i++)
		if (s->process->blocked >> (i - 1) & 1)
			sigaddset(&blocked, i);
	return sigprocmask(SIG_SETMASK, &blocked, NULL);
}
