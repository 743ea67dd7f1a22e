// Package build is the builder: a program of its own, because libcontainer
// starts the program that it is in again for every compartment, and because it
// has no place in the monitor. The launcher starts it first; the keeper does
// when the init of a compartment has died, and when a reload of the policy
// changes some.
//
// Its socket brings one order, and takes what was built, each compartment when
// it is there: all of it in the end, or why nothing was.
package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"bulkhead/broker/enclose"
	"bulkhead/broker/handover"
	"bulkhead/broker/limits"
	"bulkhead/broker/listener"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/address"
	"bulkhead/sandbox/compartment"
)

// Run carries out one order; arguments are the application's directory, its
// cgroup, where Bulkhead's other programs are, and the monitor's pid where there
// is one. It returns the exit status.
func Run(arguments []string) int {
	monitor := 0
	var err error
	switch len(arguments) {
	case 3:
	case 4:
		monitor, err = strconv.Atoi(arguments[3])
	default:
		err = fmt.Errorf("build compartments: %d arguments instead of 3 or 4", len(arguments))
	}
	if err == nil {
		err = build(arguments[0], arguments[1], arguments[2], monitor)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

func build(directory, group, libexec string, monitor int) error {
	// The sweeper waits for this process too, but not for what it starts.
	for _, fd := range []int{handover.BuilderFD, handover.BuilderPlanFD, handover.BuilderSweeperFD} {
		unix.CloseOnExec(fd)
	}
	if monitor != 0 {
		unix.CloseOnExec(handover.BuilderPresentFD)
	}
	// Before the plan is looked at: it may be written until then.
	order, err := handover.ReceiveOrder(handover.BuilderFD)
	if err == io.EOF {
		return nil // whoever started this gave up before, and says why
	}
	if err != nil {
		return fmt.Errorf("read what to build: %w", err)
	}
	p, err := plan.Load(handover.BuilderPlanFD, nil)
	if err != nil {
		return err
	}
	made := &made{}
	err = made.carryOut(order, p, compartment.Site{
		Application: p.Application, Directory: directory, Group: group,
		Init: filepath.Join(libexec, "init"), Stub: filepath.Join(libexec, "stub"), Messages: os.Stderr,
	})
	if err == nil && monitor != 0 {
		err = encloseAgain(monitor, directory, group, p)
	}
	if err != nil {
		made.undo()
		err = handover.SendFailure(handover.BuilderFD, err)
	} else {
		err = made.Finish(handover.BuilderFD)
	}
	if err != nil && !errors.Is(err, unix.EPIPE) { // else whoever ordered it gave up, and says why
		return fmt.Errorf("hand over what was built: %w", err)
	}
	return nil
}

// encloseAgain gives the monitor a root with what is granted now and what will be:
// a reload may be given up.
func encloseAgain(monitor int, directory, group string, next *plan.Plan) error {
	present, err := plan.Load(handover.BuilderPresentFD, nil)
	if err != nil {
		return err
	}
	return enclose.Again(monitor, directory, group, present, next)
}

// made is what the builder has built.
type made struct{ handover.Built }

// carryOut builds sockets first: a port in use is the likeliest failure and
// the cheapest to find.
func (m *made) carryOut(order handover.Order, p *plan.Plan, site compartment.Site) error {
	if order.All {
		for i := range p.Components {
			order.Components = append(order.Components, i)
		}
	}
	if order.All && (order.Supervisor < 0 || order.Supervisor >= len(p.Components)) {
		return fmt.Errorf("build compartment %d for the supervisor: the plan has %d", order.Supervisor, len(p.Components))
	}
	for _, index := range order.Components {
		if index < 0 || index >= len(p.Components) {
			return fmt.Errorf("build compartment %d: the plan has %d", index, len(p.Components))
		}
	}
	if err := limits.Raise(p); err != nil {
		return err
	}
	if !order.All {
		// Before any socket is made, as in a first start, where the launcher does it.
		if err := address.Extend(site.Group, p, order.Components); err != nil {
			return err
		}
	}
	for _, index := range order.Grants {
		if index < 0 || index >= len(p.Grants) {
			return fmt.Errorf("listen for grant %d: the plan has %d", index, len(p.Grants))
		}
		fd, err := listener.Granted(&p.Grants[index])
		if err != nil {
			return err
		}
		m.Listeners = append(m.Listeners, handover.Listener{Grant: index, FD: fd})
		if g := &p.Grants[index]; strings.HasPrefix(g.Network, "unix") && strings.HasPrefix(g.Address, "/") {
			if err := listener.Enlist(site.Directory, []string{g.Address}); err != nil {
				return err
			}
		}
	}
	return m.compartments(p, order, site)
}

// few compartments are built before a second processor would be of use.
const few = 4

// compartments builds those of some components side by side, because each waits
// for its own processes most of the time, and hands over each when it is there.
// The supervisor's takes no libcontainer: it is made while the first of the others
// wait, and is handed over before them.
func (m *made) compartments(p *plan.Plan, order handover.Order, site compartment.Site) error {
	which := order.Components
	if len(which) > few {
		runtime.GOMAXPROCS(runtime.NumCPU()) // it was started with one
	}
	m.Compartments = make([]handover.Compartment, len(which))
	failed := make([]error, len(which))
	build := func(i int, create func(compartment.Site, *plan.Component) (*compartment.Compartment, error)) error {
		c, err := create(site, &p.Components[which[i]])
		if err != nil {
			return err
		}
		m.Compartments[i] = handover.Compartment{Component: which[i], Control: c.Control, Pid: c.Pid, Pidfd: c.Pidfd}
		return m.Compartments[i].Send(handover.BuilderFD)
	}
	var wait sync.WaitGroup
	// More than processors, because libcontainer waits for its own children.
	slots := make(chan struct{}, 2*runtime.NumCPU())
	for i, index := range which {
		if order.All && index == order.Supervisor {
			continue
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			failed[i] = build(i, compartment.Create)
		})
	}
	if order.All {
		runtime.Gosched() // until they wait
		failed[order.Supervisor] = build(order.Supervisor, compartment.CreateOwn)
	}
	wait.Wait()
	return errors.Join(failed...)
}

// undo ends what was built. The cgroups and directories are removed by whoever
// wanted it.
func (m *made) undo() {
	for _, l := range m.Listeners {
		name, err := unix.Getsockname(l.FD)
		unix.Close(l.FD)
		if at, local := name.(*unix.SockaddrUnix); err == nil && local && listener.Deserted(at.Name) {
			unix.Unlink(at.Name)
		}
	}
	for _, c := range m.Compartments {
		if c.Pid == 0 {
			continue // it was never built
		}
		unix.Close(c.Control)
		unix.PidfdSendSignal(c.Pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(c.Pid, nil, 0, nil)
	}
}
