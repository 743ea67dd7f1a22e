/* Terminals: text put into the input of a terminal is executed by the shell that
 * reads it after the compartment has ended. The runner gives a terminal as
 * standard input and says so by PROBE_TTY. */
#include "probe.h"

#include <linux/tiocl.h>
#include <sys/ioctl.h>
#include <termios.h>

static int terminal(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (isatty(fd))
			return fd;
	return open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* Pushes one byte with the given request number and looks whether it is there. */
static enum verdict push(unsigned long request, const char *way)
{
	struct termios before, raw;
	int waiting = 0;

	if (!target("PROBE_TTY"))
		return no_target("PROBE_TTY");
	int fd = terminal();
	if (fd < 0)
		return stopped("no terminal came in (%s)", errno_name(errno));
	/* Line by line the byte would not count as readable before its newline. */
	if (tcgetattr(fd, &before))
		return refused("tcgetattr");
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(fd, TCSANOW, &raw);
	long failed = syscall(SYS_ioctl, fd, request, "x");
	int failure = errno;
	ioctl(fd, FIONREAD, &waiting);
	tcflush(fd, TCIFLUSH);
	tcsetattr(fd, TCSANOW, &before);
	errno = failure;
	if (failed)
		return refused(way);
	return waiting ? escaped("%s put a byte into the terminal's input", way)
		       : stopped("%s had no effect", way);
}

static enum verdict push_input(void) { return push(TIOCSTI, "TIOCSTI"); }

/* The kernel takes 32 bits of the request, a careless filter compares 64. */
static enum verdict push_input_wide(void) { return push(TIOCSTI | 1UL << 32, "TIOCSTI with a high bit"); }

/* Asks a virtual console for the shift keys: the same door as pasting text, and
 * it changes nothing. */
static enum verdict console_control(void)
{
	static const char *const consoles[] = { "/dev/tty1", "/dev/tty0", "/dev/console" };
	char request = TIOCL_GETSHIFTSTATE;
	int failure = 0;

	if (ioctl(0, TIOCLINUX, &request) == 0)
		return escaped("TIOCLINUX answered on standard input");
	for (size_t i = 0; i < sizeof consoles / sizeof consoles[0]; i++) {
		int fd = open(consoles[i], O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd < 0) {
			failure = errno;
			continue;
		}
		request = TIOCL_GETSHIFTSTATE;
		if (ioctl(fd, TIOCLINUX, &request) == 0)
			return escaped("TIOCLINUX answered on %s", consoles[i]);
		failure = errno;
		close(fd);
	}
	errno = failure;
	return refused("TIOCLINUX");
}

/* Another's terminal: what is written there is shown, what is read is lost to
 * its owner. */
static enum verdict terminal_of_others(void)
{
	struct stat status;
	const char *path = target("PROBE_OTHER_TTY");

	if (!path)
		return no_target("PROBE_OTHER_TTY");
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	return read_secret(fstat(fd, &status) ? -1 : fd, "another's terminal");
}

/* A line discipline is a driver: the kernel loads the module of the one that is named. */
static enum verdict line_discipline(void)
{
	int discipline = 0; /* N_TTY, which it has */

	if (!isatty(0))
		return target("PROBE_TTY") ? stopped("standard input is no terminal") : no_target("PROBE_TTY");
	if (ioctl(0, TIOCSETD, &discipline))
		return refused("TIOCSETD");
	return escaped("chooses the driver behind its terminal");
}

/* Whoever started the program could not open his own terminal any more. */
static enum verdict exclusive(void)
{
	if (!isatty(0))
		return target("PROBE_TTY") ? stopped("standard input is no terminal") : no_target("PROBE_TTY");
	if (ioctl(0, TIOCEXCL))
		return refused("TIOCEXCL");
	ioctl(0, TIOCNXCL);
	return escaped("locked its terminal for everybody else");
}

/* There are as many as the machine has numbers for (/proc/sys/kernel/pty/max). */
static enum verdict make_terminal(void)
{
	static const char *const doors[] = { "/dev/ptmx", "/dev/pts/ptmx" };

	for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++) {
		int unlock = 0, fd = open(doors[i], O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, TIOCSPTLCK, &unlock))
			return escaped("made a terminal by %s", doors[i]);
	}
	return refused("ptmx");
}

static const struct probe terminals_probes[] = {
	{ "CVE-2017-5226", "put text into the terminal's input", "CVE-2017-5226 (bubblewrap)", "session, seccomp",
	  push_input },
	{ "CVE-2019-7303", "put text into the terminal's input past a filter of 64 bits",
	  "CVE-2019-7303 (snap), CVE-2019-10063 (flatpak)", "session, seccomp", push_input_wide },
	{ "CVE-2023-28100", "control a virtual console by TIOCLINUX", "CVE-2023-28100 (flatpak), CVE-2023-1523 (snap)",
	  "mount namespace, seccomp", console_control },
	{ "other-terminal", "read another's terminal", "pts(4)", "mount namespace", terminal_of_others },
	{ "line-discipline", "choose the driver behind the terminal", "CVE-2023-6546, CVE-2017-2636", "session, seccomp",
	  line_discipline },
	{ "terminal-exclusive", "lock the terminal for whoever started it", "ioctl_tty(2)", "seccomp", exclusive },
	{ "make-terminal", "make terminals, of which the machine has so many", "pty(7)", "mount namespace", make_terminal },
};
THEME(terminals);
