/* The keeper: executes programs for a monitor that may execute none itself.
 *
 *   keeper BUILDER ARGUMENT... -- SWEEPER ARGUMENT...
 *
 * Descriptor 3 is a socket of packets to the monitor, descriptor 4 the plan,
 * descriptor 5 a listening socket on which sandbox reload brings another plan.
 * It comes here first and not to the monitor, which could forge one; from the
 * monitor itself none is taken.
 * What is executed, with which arguments and from which plan, is settled before
 * the first worker runs; a monitor that was taken over can say when, and hand
 * over what is fetched from: sockets and pipes. Each program becomes the
 * monitor's own child (CLONE_PARENT), which waits for it as if it had forked.
 *
 * It also watches the calls of the monitor, whose filter stops every one that a
 * monitor does not make: such a monitor is killed, and the call is named.
 *
 * Ends with 0 when the monitor is gone, and with 1 when that says something
 * that it never says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "again.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* unix(7), Linux 6.5 */
#endif

enum { MONITOR_FD = 3, PLAN_FD = 4, RELOAD_FD = 5 };

/* What the monitor may order; broker/handover/keeper.go has the same numbers. */
enum {
	ORDER_BUILD = 1, /* with the builder's socket and a copy of the sweeper's pipe */
	ORDER_SWEEP = 2, /* with the other end of a sweeper's pipe, and the lock */
	ORDER_WATCH = 3, /* with the listener of the monitor's filter; it has no answer */
	ORDER_NEXT = 4, /* as ORDER_BUILD, out of the plan that was brought */
	ORDER_COMMIT = 5, /* the plan that was brought is the plan */
	ORDER_DROP = 6, /* it is none */
	BROUGHT = 7, /* to the monitor: with a connection and the plan */
};

struct order { uint32_t what, id; };
struct answer { uint32_t what, id, error, pid; }; /* with a pidfd unless error */

enum { FDS_IN_ORDER = 2, BRINGER_PATIENCE_S = 1 };

static int next_plan = -1; /* that was brought, and is not the plan yet */

static _Noreturn void die(const char *what)
{
	dprintf(2, "sandbox: keeper: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* The names of the calls, out of the kernel's headers; see the Makefile. */
static const char *const names[] = {
#include "names.h"
};

/* Reads one order with its descriptors. */
static struct order next_order(int fds[FDS_IN_ORDER])
{
	struct order o;
	struct iovec part = { &o, sizeof o };
	union { struct cmsghdr header; char space[CMSG_SPACE(FDS_IN_ORDER * sizeof(int))]; } control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	long n;
	int tried = 0;

	do
		n = recvmsg(MONITOR_FD, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && again(&tried));
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		_exit(0);
	if (n < 0)
		die("read an order");
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (n == sizeof o && message.msg_flags & MSG_CTRUNC) {
		/* Descriptors were lost: there is no number left for them here. */
		errno = EMFILE;
		die("take the descriptors of an order");
	}
	errno = EPROTO;
	if (n == sizeof o && !c && (o.what == ORDER_COMMIT || o.what == ORDER_DROP))
		return o;
	if (n != sizeof o || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || !c || c->cmsg_level != SOL_SOCKET
	    || c->cmsg_type != SCM_RIGHTS || o.what < ORDER_BUILD || o.what > ORDER_NEXT
	    || (o.what == ORDER_NEXT && next_plan < 0))
		die("read an order");
	int count = o.what == ORDER_WATCH ? 1 : 2;
	if (c->cmsg_len != CMSG_LEN(count * sizeof(int)))
		die("read an order");
	fds[1] = -1;
	memcpy(fds, CMSG_DATA(c), count * sizeof(int));
	return o;
}

/* Executes a program with descriptors from 3 on; all others are
 * close-on-exec. */
static _Noreturn void run(char **command, const int *fds, int count)
{
	static char *const environment[] = { NULL };
	int high[4];
	sigset_t none;

	/* Out of the way first: one may stand at another's number. */
	for (int i = 0; i < count; i++)
		if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + count)) < 0)
			die("pass a descriptor on");
	for (int i = 0; i < count; i++)
		if (dup2(high[i], 3 + i) < 0)
			die("pass a descriptor on");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(command[0], command, environment);
	die(command[0]);
}

static void tell(struct answer a, const int *fds, int count)
{
	struct iovec part = { &a, sizeof a };
	union { struct cmsghdr header; char space[CMSG_SPACE(2 * sizeof(int))]; } control;
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (count > 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	int tried = 0;
	while (sendmsg(MONITOR_FD, &message, MSG_NOSIGNAL) < 0)
		if (errno == EPIPE || errno == ECONNRESET)
			return; /* it is gone: the next read finds out */
		else if (!again(&tried))
			die("answer the monitor"); /* which waits for it */
}

/* The process that the socket comes from: the launcher, which becomes the
 * monitor. It is this one's parent or gone, so the number is its own. */
static int open_monitor(void)
{
	struct ucred creator;
	socklen_t size = sizeof creator;

	if (getsockopt(MONITOR_FD, SOL_SOCKET, SO_PEERCRED, &creator, &size) < 0)
		die("find the monitor");
	int pidfd = syscall(SYS_pidfd_open, creator.pid, 0);
	if (pidfd < 0 && errno != ESRCH)
		die("find the monitor");
	if (pidfd < 0 || getppid() != creator.pid)
		_exit(0);
	return pidfd;
}

/* Ends a monitor that made a call which it never makes. It waits in that call
 * until it is dead. */
static void strike(int listener, int monitor)
{
	struct seccomp_notif call = { 0 };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return; /* it is dead */
	syscall(SYS_pidfd_send_signal, monitor, SIGKILL, NULL, 0);
	unsigned nr = call.data.nr;
	const char *name = nr < sizeof names / sizeof *names && names[nr] ? names[nr] : "unknown";
	dprintf(2, "sandbox: keeper: the monitor made a system call that is none of a monitor's, and is ended: %s (%u) with %#llx, %#llx, %#llx\n",
		name, nr, (unsigned long long)call.data.args[0], (unsigned long long)call.data.args[1], (unsigned long long)call.data.args[2]);
}

static void obey(struct order o, const int *fds, char **builder, char **sweeper)
{
	int pidfd = -1;
	struct clone_args arguments = { .flags = CLONE_PARENT | CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd };

	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (pid == 0 && o.what == ORDER_SWEEP)
		run(sweeper, fds, 2);
	if (pid == 0)
		run(builder, (int[]){ fds[0], o.what == ORDER_NEXT ? next_plan : PLAN_FD, fds[1], PLAN_FD }, 4);
	if (pid < 0)
		tell((struct answer){ o.what, o.id, errno, 0 }, NULL, 0);
	else
		tell((struct answer){ o.what, o.id, 0, pid }, &pidfd, 1);
	if (pidfd >= 0)
		close(pidfd);
	close(fds[0]);
	close(fds[1]);
}

static int is_sealed(int fd)
{
	const int all = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & all) == all;
}

/* Receives the one descriptor of a packet, -1 without. */
static int receive_plan(int from)
{
	char header[64];
	int fd = -1;
	struct iovec part = { header, sizeof header };
	union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};

	long n;
	int tried = 0;
	do
		n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && again(&tried));
	if (n <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* The pidfd of who connected, or -errno. Before Linux 6.5 it is made from a number that may
 * be another process's by now, one outside of every compartment if it is to
 * gain anything; nobody in a compartment can start such a one. */
static int open_peer(int from, pid_t pid)
{
	int pidfd;
	socklen_t length = sizeof pidfd;

	if (getsockopt(from, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
		return pidfd;
	if (errno == ENOPROTOOPT && (pidfd = syscall(SYS_pidfd_open, pid, 0)) >= 0)
		return pidfd;
	return -errno;
}

/* Whether a process is in this one's namespace of a kind; -1 where there is not
 * the memory to look. One whose namespaces this process may not look at is in
 * another. */
static int is_in_own(const char *kind, pid_t pid)
{
	char path[64];
	struct stat own, its;

	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	if (stat(path, &own) < 0)
		return errno == ENOMEM ? -1 : 0;
	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
	if (stat(path, &its) < 0)
		return errno == ENOMEM ? -1 : 0;
	return own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

/* Why a plan is not taken from who connected, NULL if it is: from nobody but
 * those who could start the application as well. That is the same user, but not
 * the monitor, whose child this is, and nobody in a compartment, whatever its
 * user: each has a user and a pid namespace of its own. */
static const char *refusal(const struct ucred *peer, int pidfd)
{
	struct pollfd ended = { pidfd, POLLIN, 0 };

	if (peer->uid != geteuid())
		return "it is another user's";
	if (peer->pid == getppid())
		return "it is the monitor";
	int pid = peer->pid <= 0 ? 0 : is_in_own("pid", peer->pid), user = pid == 1 ? is_in_own("user", peer->pid) : pid;
	if (pid < 0 || user < 0)
		return strerror(ENOMEM); /* to find out in which namespaces it is */
	if (!pid || !user)
		return "it is not in the user and pid namespace that the application was started in";
	if (pidfd < 0 && pidfd != -ESRCH)
		return strerror(-pidfd); /* to hold it */
	/* It had its number all the time, if it has not ended yet. */
	int tried = 0, n = pidfd < 0;
	while (pidfd >= 0 && (n = poll(&ended, 1, 0)) < 0)
		if (!again(&tried))
			return strerror(errno); /* to see that it runs */
	return n ? "it has ended" : NULL;
}

/* Takes a plan, one at a time. */
static void take_plan(void)
{
	struct ucred peer = { 0 };
	socklen_t length = sizeof peer;
	const struct timeval patience = { .tv_sec = BRINGER_PATIENCE_S };
	int from = accept4(RELOAD_FD, NULL, NULL, SOCK_CLOEXEC), plan = -1;

	if (from < 0)
		return;
	if (getsockopt(from, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0
	    || setsockopt(from, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0) {
		dprintf(2, "sandbox: keeper: a plan is refused: find out who brings it: %s\n", strerror(errno));
		close(from);
		return;
	}
	int pidfd = open_peer(from, peer.pid);
	const char *why = refusal(&peer, pidfd);
	if (pidfd >= 0)
		close(pidfd);
	if (why)
		dprintf(2, "sandbox: keeper: a plan is refused that process %d brings: %s\n", peer.pid, why);
	else
		plan = receive_plan(from);
	if (plan >= 0 && is_sealed(plan)) {
		next_plan = plan;
		tell((struct answer){ .what = BROUGHT }, (int[]){ from, plan }, 2);
	} else if (plan >= 0) {
		close(plan);
	}
	close(from);
}

/* The plan that was brought becomes the plan, or goes. */
static void settle_plan(int commit)
{
	if (next_plan < 0)
		return;
	if (commit && dup3(next_plan, PLAN_FD, O_CLOEXEC) < 0)
		die("change the plan");
	close(next_plan);
	next_plan = -1;
}

int main(int argc, char **argv)
{
	char **builder = argv + 1, **sweeper = NULL;
	sigset_t all;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--")) {
			argv[i] = NULL;
			sweeper = argv + i + 1;
			break;
		}
	if (!sweeper || !*builder || !*sweeper) {
		dprintf(2, "usage: keeper BUILDER ARGUMENT... -- SWEEPER ARGUMENT...\n");
		return 1;
	}
	/* A terminal's interrupt is the monitor's to act on. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, "sandbox-keeper", 0, 0, 0);
	/* It has every right that its programs need: nobody traces it. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		die("become undumpable");
	if (fcntl(MONITOR_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(PLAN_FD, F_SETFD, FD_CLOEXEC) < 0
	    || fcntl(RELOAD_FD, F_SETFD, FD_CLOEXEC) < 0)
		die("find the monitor's socket, the plan and the socket of reloads");

	int monitor = open_monitor(), tried = 0;
	struct pollfd sources[3] = { { MONITOR_FD, POLLIN, 0 }, { -1, POLLIN, 0 }, { -1, POLLIN, 0 } };
	for (;;) {
		sources[2].fd = next_plan < 0 ? RELOAD_FD : -1; /* one plan at a time */
		if (poll(sources, 3, -1) < 0) {
			if (!again(&tried))
				die("wait for orders");
			continue; /* what stands in revents is of before */
		}
		tried = 0;
		if (sources[1].revents & POLLIN)
			strike(sources[1].fd, monitor);
		else if (sources[1].revents)
			sources[1].fd = -1; /* nobody has the filter any more */
		if (sources[2].revents & POLLIN)
			take_plan();
		if (!sources[0].revents)
			continue;
		int fds[FDS_IN_ORDER];
		struct order o = next_order(fds);
		if (o.what == ORDER_COMMIT || o.what == ORDER_DROP)
			settle_plan(o.what == ORDER_COMMIT);
		else if (o.what != ORDER_WATCH)
			obey(o, fds, builder, sweeper);
		else if (sources[1].fd < 0)
			sources[1].fd = fds[0];
		else
			close(fds[0]);
	}
}
