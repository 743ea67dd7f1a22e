package monitor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// commandHold keeps a component from getting workers by requests and
// connections, or lets it again.
func (m *Monitor) commandHold(h wire.Header, b *wire.Body) (uint32, error) {
	index, held := b.U32(), b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	if int(index) >= len(m.components) || held > 1 {
		return 0, unix.EINVAL
	}
	c := m.components[index]
	c.held = held == 1
	if c.held {
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
	index := b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	if int(index) >= len(m.components) {
		return 0, unix.EINVAL
	}
	c := m.components[index]
	switch ready := c.Life.Ready; ready.Kind {
	case plan.ReadyConnect:
		g := &m.plan.Grants[ready.Grant]
		listener, bound := m.listeners[ready.Grant]
		if !bound {
			return 0, unix.EINVAL
		}
		go func() {
			accepted := accepts(g, listener, probePatience)
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
func accepts(g *plan.Grant, listener int, patience time.Duration) bool {
	fd, errno := connect(itself(), g)
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
	err := m.runPrivate(c, c.Life.Ready.Command, c.Life.Ready.Timeout, func(well bool) {
		c.probing = false
		m.probed(h, well)
	})
	if err != nil {
		return fmt.Errorf("run its ready command: %w", err)
	}
	c.probing = true
	return errLater
}

// runPrivate runs a command of the monitor's own in a component's compartment
// and says whether it ended with 0 in time.
func (m *Monitor) runPrivate(c *component, command []string, limit time.Duration, then func(well bool)) error {
	w, err := m.run(c, &request{command: command})
	if err != nil {
		return err
	}
	m.release(w) // it takes nobody's place
	w.private = func(status unix.WaitStatus, ran bool) {
		then(ran && status.Exited() && status.ExitStatus() == 0)
	}
	m.loop.stop(w.deadline)
	w.deadline = m.loop.after(limit, func() { m.kill(w, "its time is over") })
	return nil
}

// makeReadyPipe makes the pipe on which a program says by a newline that it is
// ready (s6's notification-fd).
func (m *Monitor) makeReadyPipe(c *component) error {
	if c.Life.Ready.Kind != plan.ReadyFD {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	c.passed = append(c.passed, worker.Passed{FD: pipe[1], Number: c.Life.Ready.Number})
	m.tell(wire.OutputPipe, func(b *wire.Message) {
		b.U32(uint32(c.index)).U32(uint32(readyStream + c.Life.Ready.Number))
	}, pipe[0])
	unix.Close(pipe[0])
	return nil
}

// readyStream is what OutputPipe adds to the number of such a pipe.
const readyStream = 1000
