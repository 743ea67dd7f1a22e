package compartment

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/sandbox/worker"
)

// helloPatience is how long an init may take to read its spec.
const helloPatience = 10 * time.Second

// greeted waits until the init says that it is up. libcontainer knows nothing
// of what follows its exec: a file that is no program, a spec that the init
// does not take.
func greeted(control, pidfd int) error {
	poll := []unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(helloPatience); ; {
		n, err := unix.Poll(poll, int(time.Until(deadline)/time.Millisecond)+1)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if n > 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it says nothing for %v", helloPatience)
		}
	}
	said, err := worker.Receive(control)
	switch {
	case err != nil && err != unix.EAGAIN:
		return err
	case err == nil && said.Kind == worker.Hello:
		return nil
	}
	return ended(pidfd)
}

// endPatience is how much later than its socket's end a process's own may come.
const endPatience = time.Second

// ended says how an init ended that said nothing, of which only the kernel tells
// when a signal was the end. It stays to be waited for.
func ended(pidfd int) error {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, int(endPatience/time.Millisecond)); err != unix.EINTR {
			break
		}
	}
	// The part of siginfo_t that waitid(2) fills in.
	var how struct {
		_      [2]int32
		code   int32
		_      [3]int32
		status int32
		_      [100]byte
	}
	err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&how)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	const exited = 1 // CLD_EXITED
	switch {
	case err != nil:
		return fmt.Errorf("it closed its socket at once; ask how it ended: waitid(2): %w", err)
	case how.code == exited:
		return fmt.Errorf("it ended at once with status %d, and says why above: a broken installation, or a component with more arguments, variables or paths than it takes", how.status)
	case how.code != 0:
		return fmt.Errorf("it was killed by %s at once; if nobody did that its file is broken: run make build, or install it again", unix.SignalName(unix.Signal(how.status)))
	}
	return errors.New("it closed its socket and runs on: its file is not this version's; run make build, or install it again")
}
