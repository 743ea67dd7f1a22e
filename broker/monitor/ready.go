package monitor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// hold is what becomes of requests for workers of a component.
type hold uint8

const (
	notHeld  hold = iota
	heldOff       // they are refused
	heldBack      // they wait: it is about to be changed
)

// commandHold keeps a component from getting workers by requests and
// connections, or lets it again.
func (m *Monitor) commandHold(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	held := b.U32()
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil || held > uint32(heldBack) {
		return 0, unix.EINVAL
	}
	c.held = hold(held)
	if c.held == heldOff {
		m.refuseQueued(c, unix.EAGAIN)
	}
	m.tendDoors(c)
	return 0, nil
}

// probePatience is how long one try to find a component ready may take.
const probePatience = time.Second

// commandProbe tries once whether a component is ready, in the way that the
// plan says. The answer comes later: 0, or EAGAIN.
func (m *Monitor) commandProbe(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil {
		return 0, err
	}
	switch ready := c.Life.Ready; ready.Kind {
	case plan.ReadyConnect:
		g := &m.plan.Grants[ready.Grant]
		listener, bound := m.listeners[ready.Grant]
		if !bound {
			return 0, unix.EINVAL
		}
		go func() {
			accepted := m.accepts(g, listener, probePatience)
			m.loop.post(func() { m.probed(h, accepted) })
		}()
	case plan.ReadyCommand:
		return 0, m.probeByCommand(c, h)
	default:
		return 0, unix.EINVAL
	}
	return 0, errLater
}

func (m *Monitor) probed(h wire.Header, ready bool) {
	if ready {
		m.replySupervisor(h, 0, nil)
	} else {
		m.replySupervisor(h, 0, unix.EAGAIN)
	}
}

// accepts connects to a granted socket and says whether somebody took the
// connection. A mere connect says nothing: the socket has been listening since
// the application started, and the kernel completes connections by itself.
func (m *Monitor) accepts(g *plan.Grant, listener int, patience time.Duration) bool {
	fd, errno := m.connect(itself(), g)
	if errno != 0 {
		return false
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if waiting(g, listener) == 0 {
			return true
		}
	}
	return false
}

// waiting is how many connections nobody has accepted. For a TCP listener the
// kernel gives it as unacked (tcp(7), TCP_INFO); for a unix socket, poll says
// whether there is one.
func waiting(g *plan.Grant, listener int) int {
	if g.Network == "tcp" {
		info, err := unix.GetsockoptTCPInfo(listener, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 1
		}
		return int(info.Unacked)
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}, 0)
	if err != nil {
		return 1
	}
	return n
}

// probeByCommand runs the plan's command inside the component's compartment.
func (m *Monitor) probeByCommand(c *component, h wire.Header) error {
	if c.probing {
		return unix.EBUSY
	}
	err := m.runPrivate(c, c.Life.Ready.Command, c.Life.Ready.Timeout, func(status int) {
		c.probing = false
		m.probed(h, status == 0)
	})
	if err != nil {
		return fmt.Errorf("run its ready command: %w", err)
	}
	c.probing = true
	return errLater
}

// runPrivate runs a command of the monitor's own in a component's compartment
// and says with what status it ended; -1: not in time, or not at all.
func (m *Monitor) runPrivate(c *component, command []string, limit time.Duration, then func(status int)) error {
	w, err := m.run(c, &request{command: command})
	if err != nil {
		return err
	}
	m.release(w) // it takes nobody's place
	w.private = func(status unix.WaitStatus, ran bool) {
		code := -1
		if ran && status.Exited() {
			code = status.ExitStatus()
		}
		then(code)
	}
	m.loop.stop(w.deadline)
	w.deadline = m.loop.after(limit, func() { m.kill(w, "its time is over") })
	return nil
}

// endPrivate ends the commands that look at a component's worker when that has
// ended: what they find out is for nobody, and one that hangs would be in the
// way of the next worker's.
func (m *Monitor) endPrivate(c *component) {
	if c.probing || c.checking {
		m.killPrivate(c, "whom it was to look at has ended")
	}
}

// killPrivate ends the monitor's own commands in a component.
func (m *Monitor) killPrivate(c *component, why string) {
	for _, w := range m.workersOf(c) {
		if w.private != nil {
			m.kill(w, why)
		}
	}
}

// makeReadyPipe makes the pipe on which a program says by a newline that it is
// ready (s6's notification-fd).
func (c *component) makeReadyPipe() error {
	if c.Life.Ready.Kind != plan.ReadyFD {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	c.readyEnd = pipe[1]
	c.passed = append(c.passed, worker.Passed{FD: pipe[1], Number: c.Life.Ready.Number})
	c.untold = append(c.untold, pipeEnd{readyStream + c.Life.Ready.Number, pipe[0]})
	return nil
}

// readyStream is what OutputPipe adds to the number of such a pipe.
const readyStream = 1000
