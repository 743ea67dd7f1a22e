package supervisor

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// killPatience is how long SIGKILL may take before the supervisor goes on
// without the news: a process in an uninterruptible wait must not hold up
// everything else.
const killPatience = 10 * time.Second

// componentTick is the tick of a component's timer: what it means follows
// from the state.
type componentTick struct {
	component  *component
	generation uint64
}

// arm sets the one timer of a component; each transition ends it.
func (s *Supervisor) arm(c *component, after time.Duration) {
	s.disarm(c)
	c.timer = s.later(after, componentTick{c, c.timers})
}

func (s *Supervisor) disarm(c *component) {
	c.timers++
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// move makes a transition, an event with its cause.
func (s *Supervisor) move(c *component, to control.State, cause string) {
	s.disarm(c)
	if !to.Up() {
		s.stopWatchdog(c)
	}
	e := control.Event{Kind: control.EventState, Component: c.plan.Name, From: c.state, To: to, Text: cause}
	if c.worker != nil {
		e.Worker, e.PID = c.worker.id, c.worker.pid
	}
	same := c.state == to // another cause, or more haste, for what is under way
	c.state, c.since, c.cause = to, time.Now(), cause
	if !same {
		s.journal.add(e)
	}
}

// start asks for a component's worker.
func (s *Supervisor) start(c *component) {
	c.asked, c.askedAt = true, time.Now()
	c.attempt++
	c.verdict, c.killed, c.destroyed, c.done, c.early, c.with = "", false, false, false, false, nil
	cause := "with the application"
	if c.total > 0 || c.lastAt != (time.Time{}) {
		cause = "again"
	}
	if len(c.after) > 0 {
		cause += ", what it comes after is ready"
	}
	if names := c.without(); len(names) > 0 {
		cause += ", without " + list(names)
	}
	s.move(c, control.Starting, cause)
	if limit := c.plan.Life.Ready.Timeout; limit > 0 {
		s.arm(c, limit)
	}
	if c.fd != nil {
		c.fd.renew()
	}
	s.launch(c)
}

// launch asks the monitor for the worker, and for the compartment before it
// where that was lost.
func (s *Supervisor) launch(c *component) {
	attempt := c.attempt
	if c.lost {
		s.call(wire.Rebuild, func(r reply) {
			c.lost = r.status != 0
			switch {
			case !c.asked || c.attempt != attempt:
				// Given up long ago.
			case c.lost:
				s.ended(c, end{how: wire.NotRun, code: uint32(r.status), step: "build its compartment again", reason: r.reason})
			default:
				s.launch(c)
			}
		}, uint32(c.index))
		return
	}
	s.call(wire.StartWorker, func(r reply) {
		switch {
		case r.status == 0 || !c.asked || c.attempt != attempt:
		case c.lost: // the news of it came while the request was on its way
			s.launch(c)
		default:
			s.ended(c, end{how: wire.NotRun, code: uint32(r.status), step: "start a worker", reason: r.reason})
		}
	}, uint32(c.index))
}

// ready makes a component one that others may rely on.
func (s *Supervisor) ready(c *component) {
	took := time.Since(c.askedAt)
	s.move(c, control.Started, "ready")
	s.arm(c, c.backoff.stableAfter())
	s.startWatchdog(c)
	s.startHealth(c)
	s.startIdle(c)
	if !s.plan.Quiet {
		text := fmt.Sprintf("ready after %s", round(took))
		if c.worker.pid != 0 { // it may have ended already
			text += fmt.Sprintf(" (pid %d)", c.worker.pid)
		}
		s.tell(c, text)
	}
}

// stop asks a component's worker to end.
func (s *Supervisor) stop(c *component) {
	cause := "stops as asked"
	switch {
	case c.leaving:
		cause = s.reload.cause(c)
	case c.bounced:
		cause = "restarts together with others"
	case s.state == control.Stopping:
		cause = "stops with the application"
	}
	if c.plan.Life.Killable && c.worker != nil {
		s.killIdle(c, cause)
		return
	}
	s.askEnd(c, cause)
}

// killIdle kills a killable component's worker, unless it has a connection;
// then it is asked as others are.
func (s *Supervisor) killIdle(c *component, cause string) {
	w := c.worker
	s.move(c, control.Stopping, cause)
	s.arm(c, max(c.plan.Life.StopTimeout, time.Millisecond))
	s.call(wire.Retire, func(r reply) {
		switch {
		case c.worker != w || c.state != control.Stopping || w.killed != "":
		case r.status == 0:
			w.killed = "killed: its policy calls it killable, and it had no connection"
			s.later(killPatience, killUnheard{w.id})
		default:
			s.signal(w, int(c.plan.Life.StopSignal))
		}
	}, w.id, uint32(unix.SIGKILL))
	c.frozen = false // Retire lets it go on
}

// askEnd sends the stop signal; SIGKILL follows after the time-out. A worker
// that is only about to start is sent it when it has.
func (s *Supervisor) askEnd(c *component, cause string) {
	s.move(c, control.Stopping, cause)
	limit := c.plan.Life.StopTimeout
	if c.worker != nil {
		if limit <= 0 {
			s.kill(c.worker, "killed: it has no time to stop in")
			return
		}
		s.signal(c.worker, int(c.plan.Life.StopSignal))
		s.thaw(c) // the signal is the first that it sees
	}
	s.arm(c, max(limit, time.Millisecond))
}

// tick is called when the time that a component has in its state is over.
func (s *Supervisor) tick(e componentTick) bool {
	c := e.component
	if e.generation != c.timers {
		return false
	}
	switch c.state {
	case control.Stopped, control.Failed:
		c.waiting = false
		return true
	case control.Starting:
		c.verdict = fmt.Sprintf("was not ready within %s: %s", c.plan.Life.Ready.Timeout, s.unready(c))
		s.tell(c, c.verdict)
		s.askEnd(c, c.verdict)
	case control.Started:
		c.backoff.reset()
		s.move(c, control.Running, "stable")
	case control.Stopping:
		switch {
		case c.tidying != nil:
			c.tidying(c.last) // the monitor has not answered either
			return true
		case c.worker != nil:
			s.kill(c.worker, fmt.Sprintf("killed: it did not stop within %s", c.plan.Life.StopTimeout))
		case !c.killed:
			c.killed = true // a start that hangs in the monitor gets as long as a kill
			s.arm(c, killPatience)
		default:
			s.ended(c, end{how: wire.NotRun, code: uint32(unix.ETIMEDOUT), step: "start a worker"})
			return true
		}
	}
	return false
}

// ended is called when a component has no worker any more, or got none, and
// decides what follows.
func (s *Supervisor) ended(c *component, e end) {
	asked := !c.wanted || c.bounced || c.leaving || c.state == control.Stopping && c.verdict == ""
	if c.verdict != "" {
		e.reason, e.never = c.verdict, true
	}
	ran := time.Since(c.askedAt)
	first := c.total == 0
	c.asked, c.worker, c.frozen, c.verdict = false, nil, false, ""
	c.last, c.lastAt = e, time.Now()
	s.tidy(c, e, func(e end) { s.decide(c, e, asked, first, ran) })
}

// decide says what follows an end, when the component's finish command, if it
// has one, has ended too.
func (s *Supervisor) decide(c *component, e end, asked, first bool, ran time.Duration) {
	c.bounced, c.last = false, e
	if asked || !c.wanted {
		s.move(c, control.Stopped, e.String())
		if !s.plan.Quiet {
			s.say(c, "stopped: "+e.String())
		}
		return
	}
	if !e.normal() {
		c.abnormal++
	}
	to := control.Failed
	if e.normal() {
		to = control.Stopped
	}
	if e.how == wire.NotRun && first && s.state == control.Starting {
		// The application never was whole: its start fails and is undone.
		c.wanted, c.done = false, true
		s.move(c, to, e.String())
		s.say(c, "cannot start: "+e.String())
		s.end(e.status(), fmt.Sprintf("component %s cannot start", c.plan.Name))
		return
	}
	if e.final {
		s.endedForGood(c, control.Failed, e)
		return
	}
	if action := c.onExit(e); action != 0 {
		s.actOn(c, action, e, ran)
		return
	}
	if c.onDemand() && e.normal() {
		s.rests(c, e, ran)
		return
	}
	restart := c.plan.Life.Restart
	if restart != plan.RestartAlways && (restart != plan.RestartOnFailure || e.normal()) {
		s.endedForGood(c, to, e)
		return
	}
	s.restart(c, to, e, ran)
}

// onExit is what the policy wants after an end of this kind, 0 when it leaves
// that to restart: so it does where the supervisor itself made an end of it.
func (c *component) onExit(e end) plan.ExitAction {
	for _, exit := range c.plan.Life.OnExit {
		if !e.never && exit.Code == e.code && (exit.Signal && e.how == wire.Signaled || !exit.Signal && e.how == wire.Exited) {
			return exit.Action
		}
	}
	return 0
}

// actOn does what on-exit says.
func (s *Supervisor) actOn(c *component, action plan.ExitAction, e end, ran time.Duration) {
	switch action {
	case plan.ExitRestart:
		s.restart(c, control.Failed, e, ran)
	case plan.ExitStop:
		e.fine = true
		c.last = e
		s.endedForGood(c, control.Stopped, e)
	case plan.ExitFail:
		e.reason, e.never = e.String()+", which its policy calls a failure for good", true
		c.last = e
		s.endedForGood(c, control.Failed, e)
	case plan.ExitStopApplication:
		c.wanted, c.done = false, true
		s.move(c, control.Stopped, e.String())
		s.say(c, e.String()+"; its policy stops the application"+e.advice())
		s.end(e.status(), fmt.Sprintf("component %s has ended", c.plan.Name))
	}
}

func (s *Supervisor) endedForGood(c *component, to control.State, e end) {
	c.wanted, c.done = false, true
	if s.mishap == 0 && !e.normal() {
		s.mishap = failureStatus(e)
	}
	s.move(c, to, e.String())
	if !s.plan.Quiet {
		s.say(c, e.String()+"; its policy does not restart it"+e.advice())
	} else if e.how != wire.Exited {
		s.say(c, e.String())
	}
	if c.plan.Life.Essential {
		status := 0
		if !e.normal() {
			status = failureStatus(e)
		}
		s.end(status, fmt.Sprintf("component %s has ended", c.plan.Name))
	}
}

// restart starts a component again, with those whom the groups' strategies
// name, or gives up.
func (s *Supervisor) restart(c *component, to control.State, e end, ran time.Duration) {
	set, why, ok := c.group.restart(child{component: c}, time.Now())
	for _, w := range why {
		s.journal.add(control.Event{Kind: control.EventGroup, Component: c.plan.Name, Text: w})
	}
	if !ok {
		c.wanted, c.done = false, true
		s.move(c, to, e.String())
		s.say(c, "failed: "+e.String())
		for _, w := range why {
			s.announce(w)
		}
		s.end(failureStatus(e), fmt.Sprintf("gives up: component %s failed too often, last: %s", c.plan.Name, e))
		return
	}
	delay := c.backoff.next(ran, s.random())
	c.restarts++
	s.move(c, to, e.String())
	if c.waiting = delay > 0; c.waiting {
		s.arm(c, delay)
		c.wait = delay
	}
	text := e.String() + "; restarts at once"
	if delay > 0 {
		text = fmt.Sprintf("%s; restarts in %s", e, round(delay))
	}
	text += e.advice()
	var others []string
	for _, other := range set {
		if other == c {
			continue
		}
		if other.active() && other.wanted && other.pinned != pinnedUp {
			other.bounced = true
			others = append(others, other.plan.Name)
		}
	}
	if len(others) > 0 {
		text += fmt.Sprintf(", together with %s", list(others))
		for _, one := range set {
			for _, other := range set {
				if !slices.Contains(one.with, other) {
					one.with = append(one.with, other)
				}
			}
		}
	}
	s.say(c, text)
	for _, w := range why {
		s.announce(w)
	}
}

// failureStatus is the exit status of an application that failed because of
// an end: never 0, although a program that should run for ever may have
// ended with it.
func failureStatus(e end) int {
	if status := e.status(); status != 0 {
		return status
	}
	return statusBroken
}
