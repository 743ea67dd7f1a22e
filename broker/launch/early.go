package launch

// #include "early.h"
import "C"

import (
	"os"

	"golang.org/x/sys/unix"
)

// earlyBuilder returns the builder that was started before Go's runtime was
// (early.c); nil where there is none, or it is not this program.
func earlyBuilder(program string) *builder {
	if C.early.socket < 0 {
		return nil
	}
	b := &builder{program: C.GoString(&C.early.program[0]), socket: int(C.early.socket), pid: int(C.early.pid)}
	C.early.socket = -1
	if b.program != program {
		b.end()
		return nil
	}
	return b
}

// punctual gives the calling thread, and what it starts, the slack of timers that
// this program was started with: early.c has another for the rest of it.
func punctual() error {
	if C.early.slack == 0 {
		return nil
	}
	return os.NewSyscallError("prctl(PR_SET_TIMERSLACK)", unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(C.early.slack), 0, 0, 0))
}
