/*
 * example DIRECTORY-GRANT FILE COMPONENT
 *
 * Prints a file of a directory grant, then runs COMPONENT with the file as its standard input and a pipe as its
 * standard output, prints what it wrote and how it ended. The same program stands in the examples of the Go and the
 * Python client.
 */
#include "../bulkhead.h"

static int print(int fd)
{
	char buffer[4096];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		if (fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n)
			return -1;
	return close(fd) < 0 || n < 0 ? -1 : 0;
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct bulkhead broker;
	struct bulkhead_worker worker;
	int numbers[] = { 0, 1 }, given[2], channel[2], file;

	if (argc != 4) {
		fprintf(stderr, "usage: example DIRECTORY-GRANT FILE COMPONENT\n");
		return 2;
	}
	if (bulkhead_begin(&broker) < 0)
		return fail("broker");

	file = bulkhead_open(&broker, argv[1], argv[2], O_RDONLY, 0);
	if (file < 0 || print(file) < 0)
		return fail(argv[2]);

	given[0] = bulkhead_open(&broker, argv[1], argv[2], O_RDONLY, 0);
	if (given[0] < 0 || pipe(channel) < 0)
		return fail(argv[2]);
	given[1] = channel[1];
	if (bulkhead_start(&broker, &worker, argv[3], 2, numbers, given) < 0)
		return fail(argv[3]);
	close(given[0]);
	close(given[1]); /* or the reader would wait for this process's own end of the pipe */
	if (print(channel[0]) < 0)
		return fail("pipe");

	if (bulkhead_wait(&broker, &worker, -1) < 0)
		return fail(argv[3]);
	printf("%s: %s\n", argv[3], bulkhead_result(&worker));
	bulkhead_end(&broker);
	return bulkhead_ok(&worker) ? 0 : 1;
}
