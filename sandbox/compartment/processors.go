package compartment

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// mostProcessors is more than any kernel is built for.
const mostProcessors = 1 << 16

// keepProcessors gives the init of a compartment, and so all its workers, the
// processors that this process may use: those that taskset(1) or a unit's
// CPUAffinity= gave to `sandbox run`. libcontainer gives a container all that there
// are. Where it changed nothing nothing is done, or processors that are plugged in
// later would not count.
func keepProcessors(pid int) error {
	mine, its := unix.NewCPUSet(mostProcessors), unix.NewCPUSet(mostProcessors)
	if err := unix.SchedGetaffinityDynamic(0, mine); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if err := unix.SchedGetaffinityDynamic(pid, its); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if slices.Equal(mine, its) {
		return nil
	}
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinityDynamic(pid, mine))
}
