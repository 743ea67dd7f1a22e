package supervisor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// A component that starts on demand is not wanted until a connection waits at
// one of its sockets, and not wanted any more when it has had none for a time.
// The sockets are the monitor's, which keeps them open and watches them while
// the component is down; so a connection that comes meanwhile waits in the
// kernel's queue until the next worker takes it.

// The time between two looks for connections is a tenth of the idle time,
// within these bounds.
const (
	idleLookFirst = 20 * time.Millisecond
	idleLookLast  = 5 * time.Second
)

// onDemand says whether connections decide when the component is up.
func (c *component) onDemand() bool { return c.plan.Start == plan.OnDemand }

// mayWatch says whether a connection would start the component, and nobody
// watches for it yet.
func (s *Supervisor) mayWatch(c *component) bool {
	return c.onDemand() && !c.leaving && !c.watching && !c.wanted && !c.active() && !c.waiting && !c.done && !c.byHand &&
		c.pinned != pinnedDown && s.state != control.Stopping && s.state != control.Stopped
}

// watch waits for the next connection.
func (s *Supervisor) watch(c *component) {
	c.watching = true
	if c.cause == "" {
		c.cause = "waits for the first connection"
	}
	s.call(wire.Watch, nil, uint32(c.index), 1)
}

// demanded is called when a connection waits.
func (s *Supervisor) demanded(e demanded) {
	c := s.components[e.component]
	if !c.watching {
		return
	}
	c.watching = false
	if c.byHand || c.leaving || c.pinned == pinnedDown || s.state == control.Stopping || s.state == control.Stopped {
		return
	}
	c.wanted = true
}

// rests is the end of a component that had nothing more to do: the next
// connection starts it again, but one that ends at once does not start all the
// time.
func (s *Supervisor) rests(c *component, e end, ran time.Duration) {
	c.wanted = false
	c.backoff.reset()
	s.move(c, control.Stopped, e.String())
	s.say(c, e.String()+"; the next connection starts it")
	if delay := c.backoff.next(ran, 0); delay > 0 {
		c.waiting, c.wait = true, delay
		s.arm(c, delay)
	}
}

// idleTick is the tick of the next look for connections.
type idleTick struct {
	component *component
	worker    *worker
}

// startIdle begins to look whether a component has connections.
func (s *Supervisor) startIdle(c *component) {
	if !c.onDemand() || c.plan.Life.Idle <= 0 {
		return
	}
	c.busyAt = time.Now()
	s.laterIdle(c)
}

func (s *Supervisor) laterIdle(c *component) {
	wait := min(max(c.plan.Life.Idle/10, idleLookFirst), idleLookLast)
	s.later(wait, idleTick{c, c.worker})
}

// idle looks once, and when nothing was to be seen for long enough the monitor
// looks again and sends the stop signal in one step.
func (s *Supervisor) idle(e idleTick) {
	c, signal := e.component, uint32(0)
	if c.worker != e.worker || !c.state.Up() {
		return
	}
	if c.frozen {
		s.laterIdle(c)
		return
	}
	if time.Since(c.busyAt) >= c.plan.Life.Idle && c.pinned != pinnedUp {
		signal = uint32(c.plan.Life.StopSignal)
	}
	s.call(wire.Retire, func(r reply) {
		switch {
		case c.worker != e.worker || !c.state.Up():
		case r.status != 0:
			if r.status != unix.EBUSY {
				s.tell(c, "cannot look for its connections: "+r.reason)
			}
			c.busyAt = time.Now()
			s.laterIdle(c)
		case signal == 0:
			s.laterIdle(c)
		default:
			c.wanted = false
			s.move(c, control.Stopping, fmt.Sprintf("had no connection for %s", c.plan.Life.Idle))
			s.arm(c, max(c.plan.Life.StopTimeout, time.Millisecond))
		}
	}, c.worker.id, signal)
}
