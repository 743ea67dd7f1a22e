/* alternate ROUNDS BARE SPLIT: executes BARE and SPLIT in turn, each with a
 * pipe for its output as a CGI server would, waits for the end of both the
 * output and the program, and prints how many microseconds each call took. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

static long microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static long once(const char *program)
{
	int out[2], status;
	char b[256];
	long from = microseconds();
	if (pipe2(out, O_CLOEXEC) < 0)
		exit(1);
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(out[1], 1);
		execl(program, program, "hello", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	while (read(out[0], b, sizeof b) > 0)
		;
	close(out[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		exit(2);
	return microseconds() - from;
}

int main(int argc, char **argv)
{
	if (argc == 1) { /* as a CGI program */
		puts("Content-Type: text/plain\n\nhello");
		return 0;
	}
	if (argc == 2) { /* what is executed */
		puts(argv[1]);
		return 0;
	}
	if (argc != 4)
		return 2;
	once(argv[2]);
	once(argv[3]);
	for (int i = atoi(argv[1]); i > 0; i--)
		printf("%ld %ld\n", once(argv[2]), once(argv[3]));
	return 0;
}
