package launch

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// shed takes every capability from this thread that the monitor will not have,
// for good, and the way to new ones; the exec that follows makes it the
// monitor's only thread. Before that there is nobody who could lend one back.
func shed(mask uint64) error {
	// Not unlocked: from here on this thread is good for the exec only.
	runtime.LockOSThread()
	// What a thread inherits at its start, and the monitor's main one sets back:
	// this is for the thread by which Go's runtime looks after the others, every
	// twenty microseconds while there is work. It may come a millisecond later,
	// and was a fifth of what a worker's start costs the monitor.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Millisecond), 0, 0, 0); err != nil {
		return fmt.Errorf("set the slack of timers: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	if os.Geteuid() != 0 {
		mask = 0 // an ordinary user's exec gives none, and the bounding set is not his to change
	}
	// An exec by root gives what the bounding set has (capabilities(7)).
	for c := 0; os.Geteuid() == 0; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break // the kernel has no more
		}
		if has == 0 || mask>>c&1 != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	if err := unix.Capget(&header, &has[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	var data [2]unix.CapUserData
	for i := range data {
		data[i].Permitted = has[i].Permitted & uint32(mask>>(32*i))
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
