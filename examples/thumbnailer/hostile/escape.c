/*
 * A decoder that tries to get out. For each thing that it gets at it says "escaped", for each that is
 * refused the error. Only if nothing at all worked does it exit with 1; a walk through any wall is a
 * thumbnail for the driver to find. None of the tries does harm where there is no wall.
 */
#define _GNU_SOURCE /* unshare */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

static int escapes;

static void tried(const char *what, int worked)
{
	if (worked) {
		escapes++;
		fprintf(stderr, "escaped: %s\n", what);
	} else {
		fprintf(stderr, "%s: %s;\n", what, strerror(errno));
	}
}

static void reading(const char *path)
{
	tried(path, open(path, O_RDONLY | O_NONBLOCK) >= 0);
}

static void connecting(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	tried("network", s >= 0 && connect(s, (struct sockaddr *)&address, sizeof address) == 0);
}

static void signalling(void)
{
	pid_t pid = 1;

	/* Signal 0 only asks whether it would be permitted. */
	while (pid < 4096 && (pid == getpid() || pid == getppid() || pid == 1 || kill(pid, 0) != 0))
		pid++;
	if (pid == 4096)
		errno = ESRCH;
	tried("another process", pid < 4096);
}

int main(void)
{
	reading("/etc/shadow");
	reading("/etc/passwd");
	reading("/srv/thumbs");
	reading("/srv/thumbnailer/web.py");
	reading("/proc/1/root");
	tried("a new file", open("/tmp/escaped", O_WRONLY | O_CREAT, 0600) >= 0);
	connecting(8080);
	signalling();
	tried("the upload", write(0, "x", 1) == 1);
	tried("a namespace", unshare(CLONE_NEWUSER) == 0);
	tried("a mount", mount("none", "/", "tmpfs", 0, NULL) == 0);
	tried("tracing", ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	fflush(stderr);
	if (escapes == 0)
		/* If this works the shell's exit status says so. */
		execl("/bin/sh", "sh", "-c", "echo escaped: a shell >&2; printf 'P6 1 1 255\\nabc'", (char *)NULL);
	tried("/bin/sh", 0);
	if (escapes > 0)
		printf("P6 1 1 255\nabc");
	return escapes == 0;
}
