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

// Run carries out one order. The one argument of the launcher's builder is where
// Bulkhead's other programs are: the rest comes with the order. Those of the
// keeper's are the application's directory, its cgroup, that place and the
// monitor's pid: who orders has no say in them. It returns the exit status.
func Run(arguments []string) int {
	var err error
	switch len(arguments) {
	case 1:
		err = first(arguments[0])
	case 4:
		err = again(arguments[0], arguments[1], arguments[2], arguments[3])
	default:
		err = fmt.Errorf("build compartments: %d arguments instead of 1 or 4", len(arguments))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

// first builds every compartment of an application that starts.
func first(libexec string) error {
	unix.CloseOnExec(handover.BuilderFD)
	compartment.Ahead() // while whoever started this reads the policy
	order, err := receive()
	if order == nil {
		return err
	}
	f := order.First
	if f == nil {
		return errors.New("read what to build: a start takes every component, and more than their numbers")
	}
	p, err := plan.Load(f.Plan, nil)
	if err != nil {
		return err
	}
	return build(*order, p, f.Directory, f.Group, libexec, func() error { return nil })
}

// again builds compartments of an application that has a monitor.
func again(directory, group, libexec, monitor string) error {
	// The sweeper waits for this process too, but not for what it starts.
	for _, fd := range []int{handover.BuilderFD, handover.BuilderPlanFD, handover.BuilderSweeperFD, handover.BuilderPresentFD} {
		unix.CloseOnExec(fd)
	}
	pid, err := strconv.Atoi(monitor)
	if err != nil {
		return fmt.Errorf("find the monitor: %w", err)
	}
	order, err := receive()
	if order == nil {
		return err
	}
	if order.First != nil {
		return errors.New("read what to build: the application has a monitor, and is not started again")
	}
	p, err := plan.Load(handover.BuilderPlanFD, nil)
	if err != nil {
		return err
	}
	return build(*order, p, directory, group, libexec, func() error { return encloseAgain(pid, directory, group, p) })
}

// receive waits for the order. There is none, and no error, where whoever started
// this gave up before, and says why.
func receive() (*handover.Order, error) {
	order, err := handover.ReceiveOrder(handover.BuilderFD)
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what to build: %w", err)
	}
	return &order, nil
}

// build carries out an order, and hands over what it made when the last step has
// been taken too.
func build(order handover.Order, p *plan.Plan, directory, group, libexec string, last func() error) error {
	made := &made{}
	err := made.carryOut(order, p, compartment.Site{
		Application: p.Application, Directory: directory, Group: group,
		Init: filepath.Join(libexec, "init"), Stub: filepath.Join(libexec, "stub"), Messages: os.Stderr,
	})
	if err == nil {
		err = last()
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
	supervisor := -1
	if order.First != nil {
		for i := range p.Components {
			order.Components = append(order.Components, i)
		}
		supervisor = order.First.Supervisor
		if supervisor < 0 || supervisor >= len(p.Components) {
			return fmt.Errorf("build compartment %d for the supervisor: the plan has %d", supervisor, len(p.Components))
		}
	}
	for _, index := range order.Components {
		if index < 0 || index >= len(p.Components) {
			return fmt.Errorf("build compartment %d: the plan has %d", index, len(p.Components))
		}
	}
	if err := limits.Raise(p); err != nil {
		return err
	}
	if order.First == nil {
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
	return m.compartments(p, order.Components, supervisor, site)
}

// compartments builds those of some components side by side, because each waits
// for its own processes most of the time, and hands over each when it is there.
// The supervisor's, where it is among them, takes no libcontainer: it is made from
// when the first of the others waits for libcontainer on, which everybody waits
// for in the end, and is handed over before them.
func (m *made) compartments(p *plan.Plan, which []int, supervisor int, site compartment.Site) error {
	if len(which) > 1 {
		// It was started with one. What waits in a system call keeps that for a while.
		runtime.GOMAXPROCS(runtime.NumCPU())
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
	underway := make(chan struct{})
	site.Underway = sync.OnceFunc(func() { close(underway) })
	if len(which) == 1 {
		site.Underway() // there is none to wait for
	}
	var wait sync.WaitGroup
	// More than processors, because libcontainer waits for its own children.
	slots := make(chan struct{}, 2*runtime.NumCPU())
	for i, index := range which {
		if index == supervisor {
			continue
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			failed[i] = build(i, compartment.Create)
			site.Underway() // also where it failed
		})
	}
	if supervisor >= 0 {
		<-underway
		failed[supervisor] = build(supervisor, compartment.CreateOwn)
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
