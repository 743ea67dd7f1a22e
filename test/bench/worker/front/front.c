/* front N FLIGHT PAUSE FIRST REST: the component that asks for workers. It speaks the C client, so that what is
   measured is the monitor and not the language of the program that asks: the raw limits' requester is C too.

   Prints N samples in nanoseconds. With FLIGHT 1 a sample is from just before the request until the event of the
   worker's end is there, or with FIRST 1 until the time that the worker's program printed. With FLIGHT above 1 that many
   workers run at once and every sample is the same: the time of all of them divided by their number.
   REST is how many microseconds nothing happens before and after, with a line on standard output at the beginning
   of each, for somebody who reads what was used until then; 0 is no rest and no line.
   PAUSE is how many microseconds are waited before each request, for a pool to fill again. */
#include "bulkhead.h"

#define COMPONENT "under-test"

enum { MOST_IN_FLIGHT = 64 };

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

static void end(struct bulkhead *b, struct bulkhead_worker *w)
{
	if (bulkhead_wait(b, w, -1) < 0)
		die("wait for a worker");
	if (!bulkhead_ok(w)) {
		fprintf(stderr, "a worker failed: %s\n", bulkhead_result(w));
		exit(1);
	}
}

static int64_t one(struct bulkhead *b, int first, const int *stamps)
{
	static struct bulkhead_worker w;
	static const int numbers[] = { 1 };
	char line[32] = "";
	int64_t requested = now();

	if (bulkhead_start(b, &w, COMPONENT, first, numbers, stamps + 1) < 0)
		die("start a worker");
	end(b, &w);
	int64_t ended = now();
	if (!first)
		return ended - requested;
	if (read(stamps[0], line, sizeof line - 1) <= 0)
		die("read the program's stamp");
	return strtoll(line, NULL, 10) - requested;
}

static int64_t many(struct bulkhead *b, long n, int flight)
{
	static struct bulkhead_worker w[MOST_IN_FLIGHT];
	int64_t begun = now();

	for (long i = 0; i < n + flight; i++) {
		if (i >= flight)
			end(b, &w[i % flight]);
		if (i < n && bulkhead_start(b, &w[i % flight], COMPONENT, 0, NULL, NULL) < 0)
			die("start a worker");
	}
	return (now() - begun) / n;
}

static void rest(long microseconds)
{
	if (microseconds == 0)
		return;
	if (puts("rest") < 0 || fflush(stdout) != 0)
		die("say that it rests");
	usleep(microseconds);
}

int main(int argc, char **argv)
{
	struct bulkhead b;
	int stamps[2] = { -1, -1 };

	if (argc != 6)
		return 2;
	long n = atol(argv[1]), flight = atol(argv[2]), pause = atol(argv[3]), first = atol(argv[4]);
	if (n < 1 || flight < 1 || flight > MOST_IN_FLIGHT)
		return 2;
	if (bulkhead_begin(&b) < 0)
		die("find the broker");
	if (first && pipe(stamps) < 0)
		die("make a pipe");
	int64_t *samples = calloc(n, sizeof *samples);
	if (!samples)
		die("memory for the samples");
	/* The first ones make what later ones use again: pages, leaves of cgroups. They are not counted. */
	if (flight > 1)
		many(&b, 2 * flight, flight);
	else
		one(&b, first, stamps);
	rest(atol(argv[5]));
	if (flight > 1) {
		int64_t each = many(&b, n < flight ? flight : n, flight);
		for (long i = 0; i < n; i++)
			samples[i] = each;
	} else {
		for (long i = 0; i < n; i++) {
			if (pause)
				usleep(pause);
			samples[i] = one(&b, first, stamps);
		}
	}
	rest(atol(argv[5]));
	for (long i = 0; i < n; i++)
		printf("%lld\n", (long long)samples[i]);
	return fflush(stdout) != 0;
}
