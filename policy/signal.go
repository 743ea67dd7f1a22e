package policy

import (
	"sort"
	"strings"
)

// signals are the numbers of signal(7) for x86-64.
var signals = map[string]int32{
	"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGBUS": 7, "SIGFPE": 8,
	"SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15,
	"SIGCHLD": 17, "SIGCONT": 18, "SIGSTOP": 19, "SIGTSTP": 20, "SIGTTIN": 21, "SIGTTOU": 22, "SIGURG": 23,
	"SIGXCPU": 24, "SIGXFSZ": 25, "SIGVTALRM": 26, "SIGPROF": 27, "SIGWINCH": 28, "SIGIO": 29, "SIGPWR": 30, "SIGSYS": 31,
}

// signalNumber reads SIGTERM or TERM.
func signalNumber(name string) (int32, bool) {
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	number, known := signals[name]
	return number, known
}

func signalName(number int32) string {
	for name, n := range signals {
		if n == number {
			return name
		}
	}
	return "no signal"
}

func signalNames() []string {
	names := keysOf(signals)
	sort.Strings(names)
	return names
}
