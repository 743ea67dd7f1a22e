package supervisor

import (
	"fmt"
	"strings"
	"time"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// How long the end may take beyond the components' own time.
const (
	settleLimit = 2 * time.Second // for output that nobody reads
	finishLimit = 5 * time.Second // for the monitor's answer to Finish
)

// settle moves the application as a whole.
func (s *Supervisor) settle() {
	if s.state == control.Starting && s.isUp() {
		s.moveApplication(control.Running, fmt.Sprintf("up after %s", round(time.Since(s.started))))
	}
	if (s.state == control.Starting || s.state == control.Running) && s.nothingIsLeft() {
		s.end(s.mishap, "every component has ended")
	}
	if s.state == control.Stopping && s.isDown() {
		s.moveApplication(control.Stopped, s.cause)
		go func() {
			s.output.settle(settleLimit)
			s.post(settled{})
		}()
	}
}

func (s *Supervisor) isUp() bool {
	for _, c := range s.components {
		if c.kept() && c.wanted && !c.state.Up() {
			return false
		}
	}
	return true
}

// isDown says whether nothing runs any more, and ends what runs for others.
func (s *Supervisor) isDown() bool {
	for _, c := range s.components {
		if c.kept() && c.active() {
			return false
		}
	}
	s.sweep()
	for _, w := range s.workers {
		if !w.component.self {
			return false
		}
	}
	return true
}

// nothingIsLeft says whether all components have ended by themselves and
// will not start again. An application that waits for connections, or in
// which an operator took something down, is not over.
func (s *Supervisor) nothingIsLeft() bool {
	if s.reload != nil {
		return false
	}
	kept := 0
	hopeless := make(map[*component]bool)
	for _, c := range s.components {
		if c.plan.Start == plan.PerConnection || c.onDemand() && !c.done || c.byHand || c.pinned == pinnedDown {
			return false
		}
		if !c.kept() {
			continue
		}
		kept++
		if c.active() || c.wanted && !c.hopeless(hopeless) {
			return false
		}
	}
	return kept > 0
}

// settled is the news that all output is out.
type settled struct{}

// finishUnheard is the tick of the request to Finish.
type finishUnheard struct{}

func (s *Supervisor) finish() {
	s.call(wire.Finish, func(reply) { s.finished = true }, uint32(s.status))
	s.later(finishLimit, finishUnheard{})
}

// end stops everything in order and ends the application with a status. The
// first reason to end is the one that counts.
func (s *Supervisor) end(status int, cause string) {
	if s.state == control.Stopping || s.state == control.Stopped {
		return
	}
	s.status = status
	s.moveApplication(control.Stopping, cause)
	for _, c := range s.components {
		c.wanted, c.bounced, c.with = false, false, nil
		if c.waiting {
			c.waiting = false
			s.disarm(c)
		}
		if c.plan.Start == plan.PerConnection {
			s.call(wire.Hold, nil, uint32(c.index), 1)
		}
	}
}

// stopEcho is how long a second request to stop is taken for the first one's
// echo: timeout(1) signals its child and then the whole group, and so does a
// terminal by way of sudo(8).
const stopEcho = 300 * time.Millisecond

func (s *Supervisor) stopAsked(e stopAsked) {
	now := time.Now()
	switch {
	case e.signal == 0: // it stops already, with another status
		s.status = int(e.status)
	case s.state == control.Stopped || s.forced:
	case s.askedAt.IsZero():
		s.askedAt = now
		s.end(int(e.status), fmt.Sprintf("stops: %s", signalName(e.signal)))
	case now.Sub(s.askedAt) >= stopEcho:
		s.force(fmt.Sprintf("%s again: everything is killed", signalName(e.signal)))
	}
}

const killedWithAll = "killed with the whole application"

// force kills everything at once.
func (s *Supervisor) force(cause string) {
	s.forced = true
	s.announce(cause)
	for _, w := range s.workers {
		if !w.component.self {
			s.kill(w, killedWithAll)
		}
	}
	for _, c := range s.components {
		if c.tidying != nil {
			c.tidying(c.last)
		}
		if c.kept() && c.active() && c.state != control.Stopping {
			s.move(c, control.Stopping, "is killed with the application")
			if c.asked {
				c.killed = true
				s.arm(c, killPatience)
			}
		}
	}
}

// What an Announce says.
const (
	announceUp    = 1
	announceStops = 2
	announceLives = 3
)

// lifeTick is the tick of the service manager's watchdog on the broker.
type lifeTick struct{ every time.Duration }

// tellUp tells the service manager that the application is up, and from then
// on, where it has a watchdog, that the broker lives.
func (s *Supervisor) tellUp() {
	s.call(wire.Announce, func(r reply) {
		if r.value > 0 {
			every := time.Duration(r.value) * time.Millisecond
			s.later(every, lifeTick{every})
		}
	}, announceUp)
}

func (s *Supervisor) tellLife(e lifeTick) {
	s.call(wire.Announce, nil, announceLives)
	s.later(e.every, e)
}

func (s *Supervisor) moveApplication(to control.State, cause string) {
	s.journal.add(control.Event{Kind: control.EventApplication, From: s.state, To: to, Text: cause})
	s.state, s.cause = to, cause
	switch to {
	case control.Running:
		s.tellUp()
	case control.Stopping:
		s.call(wire.Announce, nil, announceStops)
	}
	if s.plan.Quiet {
		return // what went wrong is said of the component
	}
	switch to {
	case control.Stopped:
		s.announce(fmt.Sprintf("ended with status %d", s.status))
	default:
		s.announce(cause)
	}
}

// announce writes a line about the application.
func (s *Supervisor) announce(text string) {
	s.output.say(fmt.Sprintf("sandbox: application %s: %s", s.plan.Application, text), nil)
}

// tell writes a line about a component.
func (s *Supervisor) tell(c *component, text string) {
	s.output.say(fmt.Sprintf("sandbox: component %s: %s", c.plan.Name, text), nil)
}

// say is tell about a component whose worker has ended: its last output
// comes before.
func (s *Supervisor) say(c *component, text string) {
	s.output.say(fmt.Sprintf("sandbox: component %s: %s", c.plan.Name, text), c.output)
}

// tellWorker keeps and writes how a worker that others asked for ended. A
// hundred hostile requests a second are a few lines and a number.
func (s *Supervisor) tellWorker(c *component, worker, pid uint32, text string) {
	s.journal.add(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Worker: worker, PID: pid, Text: text})
	passed, ok := c.quiet.allow(time.Now())
	if !ok {
		return
	}
	if passed > 0 {
		s.tell(c, fmt.Sprintf("%d more workers ended abnormally", passed))
	}
	text = fmt.Sprintf("worker %d: %s", worker, text)
	if c.running > 0 {
		s.tell(c, text) // its output is also that of others, who are not done
	} else {
		s.say(c, text)
	}
}

func list(names []string) string { return strings.Join(names, ", ") }

// round is for durations that a person reads.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second)
	case d >= 100*time.Millisecond:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
