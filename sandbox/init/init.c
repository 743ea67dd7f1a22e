/* Pid 1 of a compartment: forks workers when the monitor says so. */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>

static struct spec spec;

static _Noreturn void die(const char *what)
{
	dprintf(2, "init of the compartment: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* Rights that no worker will have go now, once for all of them. The init's
 * own effective set stays: it mounts and changes ids for workers. */
static void shed(void)
{
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(spec.capabilities >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			die("drop a capability from the bounding set");
	/* Root inside is nobody special: an exec as uid 0 gains nothing. */
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0)
		die("lock the securebits");
	/* No core dump of, and no ptrace at, what forks workers. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		die("become undumpable");
}

/* The compartment's /proc shows this process. Where workers have none it goes
 * here, once: in a worker the kernel would wait until all processors had
 * noticed. */
static void hide_proc(void)
{
	if (spec.proc == 1 && umount2("/proc", MNT_DETACH) < 0)
		die("unmount /proc");
}

/* Tells the monitor what became of a worker that it asked for: a pidfd of the
 * worker's own init, or why there is none. */
static void answer(uint32_t id, uint32_t error, const int *pidfd)
{
	uint32_t m[3] = { MSG_SPAWNED, id, error };
	if (message_send(CONTROL_FD, m, sizeof m, pidfd, error ? 0 : 1) == 0)
		return;
	if (errno == EPIPE)
		_exit(0); /* it has ended meanwhile, as it may at any time, and so does all here */
	die("answer the monitor");
}

static void spawn(uint32_t id, int executed, const int *fds, int fd_count)
{
	int pidfd = -1;
	struct clone_args arguments = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (pid == 0) {
		close(CONTROL_FD);
		signal(SIGCHLD, SIG_DFL);
		worker_run(&spec, executed, fds[0], fds + 1, fd_count - 1);
	}
	answer(id, pid < 0 ? errno : 0, &pidfd);
	if (pidfd >= 0)
		close(pidfd);
	for (int i = 0; i < fd_count; i++)
		close(fds[i]);
}

/* What the broker was started to ignore, by nohup(1) or a shell's &, no program
 * of a component has asked to. By the call itself: the library keeps 32 to 34
 * to itself, which whoever started the broker may have ignored too. */
static void heed_signals(void)
{
	static const struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } by_default; /* SIG_DFL */

	for (int i = 1; i < NSIG; i++)
		syscall(SYS_rt_sigaction, i, &by_default, NULL, sizeof by_default.mask);
}

int main(int argc, char **argv)
{
	const char *what;

	/* Nobody else has made the compartment: the init of the supervisor's. */
	if (argc == 3) {
		if ((what = enter(argv[1], argv[2])))
			die(what);
		/* Its workers see this in /proc/1/cmdline: nothing of the host's. */
		memset(argv[1], 0, strlen(argv[1]));
		memset(argv[2], 0, strlen(argv[2]));
	}
	heed_signals();
	/* The kernel reaps for whoever ignores SIGCHLD; each worker's end is
	 * told by its own init and seen on its pidfd. */
	signal(SIGCHLD, SIG_IGN);
	/* Out of the way of the numbers that descriptors are passed at. */
	if (fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0)
		die("find the control socket");
	if (spec_read(&spec, &what) < 0)
		die(what);
	hide_proc();
	shed();

	uint32_t hello[2] = { MSG_HELLO, 0 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
	hello[1] = abi < 0 ? 0 : abi;
	if (message_send(CONTROL_FD, hello, sizeof hello, NULL, 0) < 0)
		die("greet the monitor");

	for (;;) {
		uint32_t m[3] = { 0 };
		int fds[16], fd_count = 16;
		long n = message_receive(CONTROL_FD, m, sizeof m, fds, &fd_count);
		if (n == 0 || (n < 0 && errno == ECONNRESET)) /* reset: with a message of ours unread */
			return 0; /* the monitor is gone, and with pid 1 goes everything */
		if (n < 0 && errno == EMFILE && m[0] == MSG_SPAWN) {
			answer(m[1], EMFILE, NULL); /* this one cannot be; the others run on */
			continue;
		}
		if (n != sizeof m || m[0] != MSG_SPAWN || fd_count < 1)
			die("read a message of the monitor");
		spawn(m[1], m[2], fds, fd_count);
	}
}
