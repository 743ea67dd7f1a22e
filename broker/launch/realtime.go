package launch

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leaveRealTime gives up the real-time scheduling policy that chrt(1) or a unit's
// CPUSchedulingPolicy= has given this process, and says which that was; "" is
// none. Everything that is started would inherit it, and no policy file can
// grant it: such a task goes before all others of the machine, whatever the
// limits of its group. On cgroup v1, where the kernel has RT_GROUP_SCHED, groups
// take none in (EINVAL). The nice value stays.
func leaveRealTime() (string, error) {
	left := realTime(0)
	if left == "" {
		return "", nil
	}
	// Each thread has a policy of its own and passes it on to those that it
	// makes, which Go's runtime does at any moment.
	for changed := true; changed; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return "", fmt.Errorf("leave the scheduling policy %s: %w", left, err)
		}
		changed = false
		for _, t := range threads {
			thread, _ := strconv.Atoi(t.Name())
			if realTime(thread) == "" {
				continue
			}
			if err := scheduleNormally(thread); err != nil && err != unix.ESRCH {
				return "", fmt.Errorf("leave the scheduling policy %s: sched_setscheduler(2): %w; start it without", left, err)
			}
			changed = true
		}
	}
	return left, nil
}

// realTime is the name of a thread's scheduling policy, where that is real-time.
// 0 is the caller.
func realTime(thread int) string {
	is, _, _ := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(thread), 0, 0)
	switch is &^ unix.SCHED_RESET_ON_FORK {
	case unix.SCHED_FIFO:
		return "SCHED_FIFO"
	case unix.SCHED_RR:
		return "SCHED_RR"
	}
	return ""
}

// scheduleNormally keeps SCHED_RESET_ON_FORK, which only root may take back.
func scheduleNormally(thread int) error {
	is, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(thread), 0, 0)
	if errno != 0 {
		return errno
	}
	var priority int32 // struct sched_param
	_, _, errno = unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(thread),
		unix.SCHED_NORMAL|is&unix.SCHED_RESET_ON_FORK, uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return errno
	}
	return nil
}
