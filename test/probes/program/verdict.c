/* Verdicts and the words that explain them. */
#include "probe.h"

#include <stdarg.h>

static char reason[256];

static void explain(const char *format, va_list arguments)
{
	vsnprintf(reason, sizeof reason, format, arguments);
}

#define VERDICT_FUNCTION(name, value)                 \
	enum verdict name(const char *format, ...)    \
	{                                             \
		va_list arguments;                    \
		va_start(arguments, format);          \
		explain(format, arguments);           \
		va_end(arguments);                    \
		return value;                         \
	}

VERDICT_FUNCTION(stopped, STOPPED)
VERDICT_FUNCTION(escaped, ESCAPED)
VERDICT_FUNCTION(untested, UNTESTED)

enum verdict refused(const char *attempt)
{
	return stopped("%s: %s", attempt, errno_name(errno));
}

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = { "STOPPED", "ESCAPED", "UNTESTED" };
	return names[verdict];
}

const char *verdict_reason(void)
{
	return reason;
}

const char *errno_name(int number)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
#define NAMED(symbol) { symbol, #symbol }
		NAMED(EPERM), NAMED(ENOENT), NAMED(ESRCH), NAMED(EINTR), NAMED(EIO), NAMED(ENXIO),
		NAMED(EBADF), NAMED(ECHILD), NAMED(EAGAIN), NAMED(ENOMEM), NAMED(EACCES), NAMED(EFAULT),
		NAMED(EBUSY), NAMED(EEXIST), NAMED(EXDEV), NAMED(ENODEV), NAMED(ENOTDIR), NAMED(EISDIR),
		NAMED(EINVAL), NAMED(ENFILE), NAMED(EMFILE), NAMED(ENOTTY), NAMED(ETXTBSY), NAMED(EFBIG),
		NAMED(ENOSPC), NAMED(EROFS), NAMED(EMLINK), NAMED(EPIPE), NAMED(ERANGE), NAMED(ENOSYS),
		NAMED(ELOOP), NAMED(ENODATA), NAMED(EPROTO), NAMED(EOVERFLOW), NAMED(EUSERS),
		NAMED(ENOTSOCK), NAMED(EPROTONOSUPPORT), NAMED(ESOCKTNOSUPPORT), NAMED(EOPNOTSUPP),
		NAMED(EAFNOSUPPORT), NAMED(EADDRINUSE), NAMED(EADDRNOTAVAIL), NAMED(ENETDOWN),
		NAMED(ENETUNREACH), NAMED(ECONNRESET), NAMED(ETIMEDOUT), NAMED(ECONNREFUSED),
		NAMED(EHOSTUNREACH), NAMED(EINPROGRESS), NAMED(ESTALE), NAMED(EDQUOT), NAMED(ENOKEY),
		NAMED(EKEYEXPIRED), NAMED(EKEYREVOKED), NAMED(ECANCELED), NAMED(ENOPROTOOPT),
	};
	static char unnamed[24];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (names[i].number == number)
			return names[i].name;
	snprintf(unnamed, sizeof unnamed, "errno %d", number);
	return unnamed;
}

const char *signal_name(int number)
{
	static char unnamed[24];

	switch (number) {
	case SIGSYS: return "SIGSYS";
	case SIGKILL: return "SIGKILL";
	case SIGALRM: return "SIGALRM";
	case SIGSEGV: return "SIGSEGV";
	case SIGBUS: return "SIGBUS";
	case SIGABRT: return "SIGABRT";
	case SIGXCPU: return "SIGXCPU";
	case SIGXFSZ: return "SIGXFSZ";
	case SIGPIPE: return "SIGPIPE";
	case SIGHUP: return "SIGHUP";
	case SIGTERM: return "SIGTERM";
	}
	snprintf(unnamed, sizeof unnamed, "signal %d", number);
	return unnamed;
}
