/* The stub stands where a program was that another component replaces. What
 * executes that path gets the stub, in its own compartment; the program runs
 * in the other component's, and the stub lives and dies with it.
 *
 * It passes nothing on: the monitor reads the arguments, the environment and
 * the descriptors of this process from the kernel while it waits. All that it
 * needs is one system call, of a number that no kernel has: the filter stops
 * it, and the monitor answers with a socket. The call's arguments are which
 * signals were blocked and ignored, because that has changed by then: from
 * the answer on the program may run, and a signal that is sent to it reaches
 * this process, which must be able to pass it on. On the socket, both ways:
 *
 *   stub -> monitor: u32 signal that reached this process
 *   monitor -> stub: u32 what, u32 value, text; see broker/monitor/stub.go
 *
 * It calls little, because it runs behind the walls of whoever executed it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Shared with broker/monitor/split.go and stub.go. */
enum { CALL_SPLIT = 16968 };
enum {
	STUB_EXITED = 1,  /* exit status */
	STUB_KILLED = 2,  /* signal */
	STUB_STOPPED = 3, /* signal */
	STUB_FAILED = 4,  /* exit status; why, for standard error */
};

static int monitor;

static void pass_on(int number)
{
	int before = errno;
	uint32_t m = number;
	(void)!write(monitor, &m, sizeof m);
	errno = before;
}

/* Every signal that can be caught is passed on, also what is ignored here:
 * it is ignored there too, until the program thinks otherwise. */
static void catch(int number)
{
	struct sigaction a = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
	sigaction(number, &a, NULL);
}

/* Raw, because the library keeps some signals to itself. */
static uint64_t block_all(void)
{
	uint64_t all = ~UINT64_C(0), before = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	return before;
}

static int is_ignored(int number)
{
	struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } a;
	return syscall(SYS_rt_sigaction, number, NULL, &a, sizeof a.mask) == 0 && a.handler == (void *)SIG_IGN;
}

/* What the program's own disposition does with a signal. */
static void suffer(int number)
{
	sigset_t set;
	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	kill(getpid(), number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static _Noreturn void fail(int status, const char *why, size_t length, const char *cause)
{
	static const char before[] = "sandbox: ";
	(void)!write(2, before, sizeof before - 1);
	(void)!write(2, why, length);
	if (cause) {
		(void)!write(2, ": ", 2);
		(void)!write(2, cause, strlen(cause));
	}
	(void)!write(2, "\n", 1);
	_exit(status);
}

int main(void)
{
	struct { uint32_t what, value; char text[1024]; } m;

	uint64_t blocked = block_all(), ignored = 0;
	for (int i = 1; i < NSIG; i++) {
		if (is_ignored(i))
			ignored |= UINT64_C(1) << (i - 1);
		if (i != SIGKILL && i != SIGSTOP)
			catch(i);
	}
	long fd = syscall(CALL_SPLIT, blocked, ignored);
	if (fd < 0) {
		static const char refused[] = "what replaces this program cannot be started from here";
		fail(126, refused, sizeof refused - 1, strerror(errno));
	}
	monitor = fd;
	sigset_t none; /* what came meanwhile is passed on now */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	for (;;) {
		long n = read(monitor, &m, sizeof m);
		if (n < 0 && (errno == EINTR || errno == ECONNRESET)) /* reset: with a signal unread */
			continue;
		if (n < 0) {
			static const char unheard[] = "hear how the program that replaces this one ends";
			fail(126, unheard, sizeof unheard - 1, strerror(errno));
		}
		if (n < 8) /* the monitor is gone, and everything with it */
			_exit(126);
		switch (m.what) {
		case STUB_EXITED:
			_exit(m.value);
		case STUB_KILLED: {
			/* The core is the program's own, where it has one. */
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			suffer(m.value);
			_exit(128 + m.value);
		}
		case STUB_STOPPED:
			suffer(m.value);
			if (m.value != SIGSTOP)
				catch(m.value);
			break;
		case STUB_FAILED:
			fail(m.value, m.text, n - 8, NULL);
		}
	}
}
