package supervisor

import (
	"bulkhead/broker/control"
	"bulkhead/broker/wire"
)

// doFreeze lets the worker of a component that is up stand still, or go on.
// Nothing that it holds is given up. As long as it stands still nobody expects
// a sign of life of it; whatever asks it to end lets it go on first.
func (s *Supervisor) doFreeze(c *component, on bool) answer {
	switch {
	case !c.state.Up() || c.worker == nil:
		return refuse("component %s is %s; only one that is up can be frozen and thawed", c.plan.Name, c.state)
	case on == c.frozen:
		return done
	case !on:
		s.thaw(c)
		return done
	}
	c.frozen = true
	s.stopWatchdog(c)
	s.journal.add(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Worker: c.worker.id, PID: c.worker.pid, Text: "is frozen as asked"})
	w := c.worker
	over, failure := false, ""
	s.call(wire.Freeze, func(r reply) {
		over = true
		if r.status != 0 && c.worker == w && c.frozen {
			failure = "component " + c.plan.Name + " does not stand still: " + r.reason
			c.frozen = false
			s.startWatchdog(c)
		}
	}, w.id, 1)
	return s.waits(control.Request{Wait: true}, func() (bool, string) { return over, failure })
}

// thaw ends a freeze; a worker that asked to end must go on to do so.
func (s *Supervisor) thaw(c *component) {
	if !c.frozen {
		return
	}
	c.frozen = false
	s.monitor.request(wire.Freeze, c.worker.id, 0)
	if c.state.Up() {
		s.startWatchdog(c)
		s.journal.add(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Worker: c.worker.id, PID: c.worker.pid, Text: "goes on"})
	}
}
