package launch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// action is the kernel's struct sigaction, as long as handler, flags, restorer
// and mask are a word each (rt_sigaction(2)); of all zeroes it is SIG_DFL.
type action struct{ handler, flags, restorer, mask uintptr }

// ignored is SIG_IGN.
const ignored = 1

// endBySignals lets the kernel end this process when somebody asks it to stop.
// Go's runtime catches these signals even where nobody wants to hear of them, and
// then ends the process from the handler. An execve(2) of another thread ends
// a handler half-way: the signal would be taken and have no effect, and the
// application start as if nobody had asked for its end. (Of 1,500 signals within
// 1.5 ms of an exec 4 were lost.) One that is ignored, as by nohup(1), stays so.
func endBySignals() error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		var now, end action
		err := setAction(signal, nil, &now)
		if err == nil && now.handler != ignored {
			err = setAction(signal, &end, nil)
		}
		if err != nil {
			return fmt.Errorf("let %s end the launcher: %w", unix.SignalName(signal), err)
		}
	}
	return nil
}

func setAction(signal unix.Signal, next, now *action) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal),
		uintptr(unsafe.Pointer(next)), uintptr(unsafe.Pointer(now)), unsafe.Sizeof(action{}.mask), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
