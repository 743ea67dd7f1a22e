/* asker N START [PATH]: a component that asks for the same granted file again and again, with the C client, or opens it
   by its path, as a program that nobody changed.

   Prints N samples in nanoseconds, each from just before the request until the descriptor is there and closed. With
   START, nanoseconds of CLOCK_MONOTONIC, it waits until then, so that several askers begin at once, and prints one line:
   when it began and when it ended. */
#include "bulkhead.h"

#include <fcntl.h>
#include <time.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static const char *path;

static void one(struct bulkhead *b)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : bulkhead_open(b, "file", "", 0, 0);
	if (fd < 0)
		die("get the file");
	close(fd);
}

/* A late asker would measure alone what should be measured together. */
static void wait_until(int64_t start)
{
	struct timespec t = { start / 1000000000, start % 1000000000 };

	if (now() > start) {
		fprintf(stderr, "asker: it was started after the time at which all begin\n");
		exit(1);
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

int main(int argc, char **argv)
{
	struct bulkhead b;

	if (argc != 3 && argc != 4)
		return 2;
	path = argv[3];
	long n = atol(argv[1]);
	int64_t start = strtoll(argv[2], NULL, 10);
	if (n < 1)
		return 2;
	if (bulkhead_begin(&b) < 0)
		die("find the broker");
	int64_t *samples = calloc(n, sizeof *samples);
	if (!samples)
		die("memory for the samples");
	one(&b); /* the first one of a worker finds the grant */
	if (start)
		wait_until(start);
	int64_t begun = now();
	for (long i = 0; i < n; i++) {
		int64_t requested = now();
		one(&b);
		samples[i] = now() - requested;
	}
	if (start)
		printf("%lld %lld\n", (long long)begun, (long long)now());
	else
		for (long i = 0; i < n; i++)
			printf("%lld\n", (long long)samples[i]);
	return fflush(stdout) != 0;
}
