package compartment

// extern long usual_slack;
import "C"

import (
	"os"

	"golang.org/x/sys/unix"
)

// punctual gives the calling thread, and what it starts, the slack of timers that
// this program was started with: late.c has another for the rest of it.
func punctual() error {
	return os.NewSyscallError("prctl(PR_SET_TIMERSLACK)", unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(C.usual_slack), 0, 0, 0))
}
