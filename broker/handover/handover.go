// Package handover is what the launcher leaves for the monitor that it
// becomes: descriptors by number, in a sealed memfd.
package handover

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// Descriptors that the monitor finds at fixed numbers.
const (
	HandoverFD = 3 // the encoded Handover
	PlanFD     = 4 // the encoded plan
)

// ReloadSocket is where, in the application's directory, the monitor takes a
// changed plan, and PlanFile where inspect and reload find the present one.
const (
	ReloadSocket = "reload"
	PlanFile     = "plan"
	SocketsFile  = "sockets" // files of unix sockets, a line each, for the sweeper
)

// Handover is everything that the monitor inherits beside the plan.
type Handover struct {
	Directory    string // /run/sandbox/APPLICATION
	Group        string // the application's cgroup, below the hierarchies' roots
	Supervisor   int    // index of the supervisor among the components
	Resolver     int    // index of the resolver, -1 where no grant has a name
	Builder      int    // socket of the builder, which has its order and may be at work still
	BuilderPid   int    // a child of the monitor
	Listeners    []Listener
	Lock         int           // the application's lock, held as long as it is open
	Sweeper      int           // a pipe; the sweeper acts when its last copy closes
	SweeperPid   int           // a child of the monitor
	Keeper       int           // socket of the keeper, who executes what the monitor may not
	KeeperPid    int           // a child of the monitor
	Filter       []byte        // of the monitor's own calls, as plan.Syscalls.Program
	Control      int           // listening socket for control
	Status       int           // listening socket for those who may only look
	Notify       int           // socket of the service manager (sd_notify(3)), -1 without one
	Watchdog     time.Duration // the manager wants to hear that often that the broker lives, 0: never
	Ready        int           // a newline there says that the application is up, -1: nobody wants it
	Allowed      int           // map of the addresses that components may use, -1 without the programs that look at it
	Refusals     int           // ring of addresses that the programs refused, -1 without
	Mounts       []Mount       // of cgroups: the monitor's own would mislead it
	Enclosed     bool          // the monitor has a root of its own
	Capabilities uint64        // what the plan makes the monitor keep of them
	Outside      int           // cgroup.procs of the group that the launcher was in before the monitor's, -1 where it stays there
}

// Mount is where a controller of cgroups is; "" is cgroup v2 with all of them.
type Mount struct{ Controller, At string }

// MountsOf are the mounts of a hierarchy that the monitor uses.
func MountsOf(h cgroup.Hierarchy) []Mount {
	all := []Mount{{"", h.Unified}}
	for name, at := range h.Controllers {
		all = append(all, Mount{name, at})
	}
	return all
}

// Hierarchy is what MountsOf was told, as far as the monitor uses it.
func (h *Handover) Hierarchy() cgroup.Hierarchy {
	found := cgroup.Hierarchy{Controllers: map[string]string{}}
	for _, m := range h.Mounts {
		if m.Controller == "" {
			found.Unified = m.At
		} else {
			found.Controllers[m.Controller] = m.At
		}
	}
	return found
}

// Compartment is a compartment that the builder built.
type Compartment struct {
	Component int // index into Plan.Components
	Control   int // descriptor: the socket of its init
	Pid       int // of its init, a child of the monitor
	Pidfd     int // descriptor
}

// Listener is a granted socket that the launcher bound.
type Listener struct {
	Grant int // index into Plan.Grants
	FD    int
}

// ReadFile reads a memfd from its beginning, whoever read it before.
func ReadFile(fd int, maximum int64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size > maximum {
		return nil, fmt.Errorf("it has %d bytes, more than the %d allowed", st.Size, maximum)
	}
	b := make([]byte, st.Size)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return nil, os.NewSyscallError("pread", err)
	}
	if n != len(b) {
		return nil, io.ErrUnexpectedEOF
	}
	return b, nil
}

// Read reads the handover and the plan from their fixed descriptors; part as
// in plan.Load.
func Read(part func(*plan.Component)) (*Handover, *plan.Plan, error) {
	b, err := ReadFile(HandoverFD, plan.MaximumSize)
	if err != nil {
		return nil, nil, fmt.Errorf("read the handover: %w", err)
	}
	h, err := plan.Decode[Handover](b)
	if err != nil {
		return nil, nil, fmt.Errorf("read the handover: %w", err)
	}
	p, err := plan.Load(PlanFD, part)
	return h, p, err
}
