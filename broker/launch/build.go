package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
)

// Build is the builder, which the keeper starts when the init of a compartment
// has died, and when a reload of the policy changes some. What to build comes
// as one packet on descriptor 3, and what was built goes back there; the plan
// is on descriptor 4, and that which the application has now behind the copy of
// the sweeper's pipe. All is handed over, or nothing is left of it.
func Build(directory, group, libexec string, monitor int) error {
	// The monitor's copy of the sweeper's pipe, behind the socket and the plan:
	// what is built must not keep it.
	unix.CloseOnExec(handover.PlanFD + 1)
	unix.CloseOnExec(handover.PresentFD)
	order, err := readOrder()
	if err != nil {
		return fmt.Errorf("read what to build: %w", err)
	}
	p, err := handover.ReadPlan(handover.PlanFD)
	if err != nil {
		return err
	}
	present, err := handover.ReadPlan(handover.PresentFD)
	if err != nil {
		return err
	}
	site := sandbox.Site{
		Application: p.Application, Directory: directory, Group: group,
		Init: filepath.Join(libexec, "init"), Stub: filepath.Join(libexec, "stub"), Messages: os.Stderr,
	}
	made, err := order.carryOut(p, site)
	if err == nil {
		// What is granted now and what will be: a reload may be given up.
		err = encloseAgain(monitor, directory, group, present, p)
	}
	if err != nil {
		made.undo()
		return tellMonitor(wire.Header{Kind: wire.Reply, Op: wire.BuildOver, Status: uint32(unix.EIO)}, func(m *wire.Message) {
			text := err.Error()
			m.String(text[:min(len(text), wire.MaximumText)])
		})
	}
	return made.handOver()
}

// order is what the builder is to build, by the plan's numbers.
type order struct{ components, grants []int }

func readOrder() (order, error) {
	var o order
	var b [wire.MaximumSize]byte
	n, err := unix.Read(handover.HandoverFD, b[:])
	if err != nil {
		return o, os.NewSyscallError("read", err)
	}
	h, body, err := wire.Parse(b[:n], 0)
	if err != nil {
		return o, err
	}
	if h.Kind != wire.Request || h.Op != wire.Build {
		return o, wire.ErrHeader
	}
	for _, list := range []*[]int{&o.components, &o.grants} {
		for range body.U32() {
			*list = append(*list, int(body.U32()))
			if len(*list) > wire.MaximumSize {
				return o, wire.ErrShort
			}
		}
	}
	return o, body.End()
}

// made is what the builder has built.
type made struct {
	compartments []handover.Compartment
	listeners    []handover.Listener
}

// carryOut builds sockets first: a port in use is the likeliest failure and
// the cheapest to find.
func (o order) carryOut(p *plan.Plan, site sandbox.Site) (*made, error) {
	m := &made{}
	for _, index := range o.components {
		if index < 0 || index >= len(p.Components) {
			return m, fmt.Errorf("build compartment %d: the plan has %d", index, len(p.Components))
		}
	}
	if err := raiseLimits(p); err != nil {
		return m, err
	}
	// Before any socket is made, as in a first start.
	if err := sandbox.ExtendAddresses(site.Group, p, o.components); err != nil {
		return m, err
	}
	for _, index := range o.grants {
		if index < 0 || index >= len(p.Grants) {
			return m, fmt.Errorf("listen for grant %d: the plan has %d", index, len(p.Grants))
		}
		fd, err := listen(&p.Grants[index])
		if err != nil {
			return m, err
		}
		m.listeners = append(m.listeners, handover.Listener{Grant: index, FD: fd})
		if g := &p.Grants[index]; strings.HasPrefix(g.Network, "unix") && strings.HasPrefix(g.Address, "/") {
			if err := addSockets(site.Directory, []string{g.Address}); err != nil {
				return m, err
			}
		}
	}
	var err error
	m.compartments, err = compartments(p, o.components, site)
	return m, err
}

// undo ends what was built. The cgroups and directories are removed by whoever
// wanted it.
func (m *made) undo() {
	for _, l := range m.listeners {
		name, err := unix.Getsockname(l.FD)
		unix.Close(l.FD)
		if at, local := name.(*unix.SockaddrUnix); err == nil && local && deserted(at.Name) {
			unix.Unlink(at.Name)
		}
	}
	for _, c := range m.compartments {
		if c.Pid == 0 {
			continue // it was never built
		}
		unix.Close(c.Control)
		unix.PidfdSendSignal(c.Pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(c.Pid, nil, 0, nil)
	}
}

func (m *made) handOver() error {
	var failed error
	for _, c := range m.compartments {
		failed = errors.Join(failed, tellMonitor(wire.Header{Kind: wire.Event, Op: wire.Built, FDs: 2}, func(b *wire.Message) {
			b.U32(uint32(c.Component)).U32(uint32(c.Pid))
		}, c.Control, c.Pidfd))
	}
	for _, l := range m.listeners {
		failed = errors.Join(failed, tellMonitor(wire.Header{Kind: wire.Event, Op: wire.Bound, FDs: 1}, func(b *wire.Message) {
			b.U32(uint32(l.Grant))
		}, l.FD))
	}
	if failed != nil {
		return failed // the monitor is gone, or gave up: what it has got it closes
	}
	return tellMonitor(wire.Header{Kind: wire.Reply, Op: wire.BuildOver}, func(*wire.Message) {})
}

// tellMonitor sends what the builder says.
func tellMonitor(h wire.Header, body func(*wire.Message), fds ...int) error {
	var m wire.Message
	m.Begin(h)
	body(&m)
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(handover.HandoverFD, b, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("hand over what was built: %w", err)
	}
	return nil
}
