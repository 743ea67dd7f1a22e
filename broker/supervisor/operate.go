package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// ask is a request of a client, on its way into loop. The answer channel has
// room for the one answer, so loop never waits.
type ask struct {
	request control.Request
	answer  chan answer
}

// answer is what loop makes of a request: the last reply, replies before it,
// and, for those who follow, where the others come from.
type answer struct {
	reply  control.Reply
	before []control.Reply
	feed   *feed
	feeds  *feeds
	waiter *waiter // the reply comes later
}

// waiter is a client that waits until something is so.
type waiter struct {
	so    func() (done bool, failure string)
	reply chan control.Reply // with room for one
}

// forget takes the waiter of a client that has left out of the list.
type forget struct{ waiter *waiter }

func refuse(format string, values ...any) answer {
	return answer{reply: control.Reply{Error: fmt.Sprintf(format, values...)}}
}

var done = answer{reply: control.Reply{Done: true}}

func (s *Supervisor) answer(a ask) { a.answer <- s.do(a.request) }

// do carries a request out.
func (s *Supervisor) do(r control.Request) answer {
	var c *component
	if r.Component != "" {
		if c = s.byName[r.Component]; c == nil {
			var names []string
			for _, c := range s.components {
				names = append(names, c.plan.Name)
			}
			return refuse("it has no component %q; it has %s", r.Component, list(names))
		}
	}
	switch r.Verb {
	case control.AskStatus:
		return answer{reply: control.Reply{Done: true, Status: s.report()}}
	case control.AskPS:
		return answer{reply: control.Reply{Done: true, Workers: s.reportWorkers(r.Component)}}
	case control.AskEvents:
		return s.doEvents(r)
	case control.AskLogs:
		return s.doLogs(r, c)
	case control.Shutdown:
		s.end(0, "stops: asked by control")
		return s.waits(r, func() (bool, string) { return s.state == control.Stopped, "" })
	}
	if c.self {
		return refuse("the supervisor itself is not controlled; shutdown ends the application")
	}
	switch r.Verb {
	case control.Signal:
		return s.doSignal(c, r.Signal)
	case control.Reload:
		if c.plan.Life.ReloadSignal == 0 {
			return refuse("component %s has no reload-signal; restart it instead", c.plan.Name)
		}
		return s.doSignal(c, int(c.plan.Life.ReloadSignal))
	case control.Destroy:
		return s.doDestroy(c, r)
	}
	if !c.kept() {
		return s.doHold(c, r)
	}
	if s.state == control.Stopping || s.state == control.Stopped {
		return refuse("the application is stopping")
	}
	switch r.Verb {
	case control.Freeze, control.Thaw:
		return s.doFreeze(c, r.Verb == control.Freeze)
	case control.Start:
		return s.doStart(c, r)
	case control.Stop:
		return s.doStop(c, r)
	case control.Restart:
		return s.doRestart(c, r)
	case control.Release:
		if c.pinned == pinnedUp {
			return refuse("component %s is pinned up; unpin it first", c.plan.Name)
		}
		c.released = true
		return done
	case control.Pin:
		return s.doPin(c, r)
	default: // control.Unpin; ParseRequest lets no other verb through
		c.pinned = notPinned
		return done
	}
}

func (s *Supervisor) doEvents(r control.Request) answer {
	a := done
	for _, e := range s.journal.last(r.Lines, r.Component) {
		a.before = append(a.before, control.Reply{Event: &e})
	}
	if r.Follow {
		a.feeds = &s.journal.feeds
		a.feed = a.feeds.follow(r.Component)
	}
	return a
}

func (s *Supervisor) doLogs(r control.Request, only *component) answer {
	a := done
	if r.Follow {
		// First follow, then look back: a line may come twice, none is missed.
		a.feeds = &s.output.feeds
		a.feed = a.feeds.follow(r.Component)
	}
	for _, line := range s.output.last(r.Lines, only) {
		a.before = append(a.before, control.Reply{Line: &line})
	}
	return a
}

func (s *Supervisor) waits(r control.Request, so func() (bool, string)) answer {
	if !r.Wait {
		return done
	}
	w := &waiter{so: so, reply: make(chan control.Reply, 1)}
	s.waiters = append(s.waiters, w)
	return answer{waiter: w}
}

// answerWaiters answers those whose time has come.
func (s *Supervisor) answerWaiters() {
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		switch is, failure := w.so(); {
		case failure != "":
			w.reply <- control.Reply{Error: failure}
		case is:
			w.reply <- control.Reply{Done: true}
		default:
			kept = append(kept, w)
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
}

func (s *Supervisor) forget(gone *waiter) {
	for i, w := range s.waiters {
		if w == gone {
			s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
			return
		}
	}
}

// doStart wants a component and all that it comes after.
func (s *Supervisor) doStart(c *component, r control.Request) answer {
	if c.pinned == pinnedDown {
		return refuse("component %s is pinned down; unpin it first", c.plan.Name)
	}
	s.want(c)
	return s.waits(r, s.isReady(c))
}

func (s *Supervisor) want(c *component) {
	s.wantWith(c, make(map[*component]bool))
}

func (s *Supervisor) wantWith(c *component, seen map[*component]bool) {
	if seen[c] {
		return
	}
	seen[c] = true
	for _, other := range slices.Concat(c.after, c.tried) {
		if !other.served() && other.pinned != pinnedDown {
			s.wantWith(other, seen)
		}
	}
	c.released, c.byHand = false, false
	if c.wanted && (c.active() || !c.waiting) {
		return
	}
	// Asked by a person: no reason to wait, and what went wrong before is
	// forgiven.
	c.wanted, c.done, c.waiting = true, false, false
	c.backoff.reset()
	if !c.active() {
		s.disarm(c)
	}
}

// isReady says when a component that was started is ready or, a task, done, and
// why it will not be.
func (s *Supervisor) isReady(c *component) func() (bool, string) {
	return func() (bool, string) {
		switch {
		case c.served() && !c.bounced:
			return true, ""
		case !c.wanted || c.waiting:
			return false, fmt.Sprintf("component %s is %s: %s", c.plan.Name, c.state, c.cause)
		case !c.active() && c.hopeless(make(map[*component]bool)):
			return false, fmt.Sprintf("component %s does not start: it comes after %s", c.plan.Name, strings.Join(c.lacks(make(map[*component]bool)), " and "))
		}
		return false, ""
	}
}

// hasEnded says when what runs of a component now has ended: somebody else may
// have started it again by then.
func (s *Supervisor) hasEnded(c *component) func() (bool, string) {
	attempt := c.attempt
	var had []*worker
	for _, w := range s.workers {
		if w.component == c {
			had = append(had, w)
		}
	}
	return func() (bool, string) {
		for _, w := range had {
			if s.workers[w.id] == w {
				return false, ""
			}
		}
		return !c.kept() || !c.active() || c.attempt != attempt, ""
	}
}

func (s *Supervisor) doStop(c *component, r control.Request) answer {
	if c.pinned == pinnedUp {
		return refuse("component %s is pinned up; unpin it first", c.plan.Name)
	}
	s.takeDown(c)
	return s.waits(r, s.hasEnded(c))
}

func (s *Supervisor) takeDown(c *component) {
	c.wanted, c.bounced, c.released, c.byHand = false, false, false, true
	if c.waiting {
		c.waiting = false
		s.move(c, control.Stopped, "its restart was called off")
	}
}

func (s *Supervisor) doRestart(c *component, r control.Request) answer {
	if c.pinned != notPinned {
		return refuse("component %s is pinned %s; unpin it first", c.plan.Name, c.pinned)
	}
	if c.state == control.Starting || c.state.Up() {
		c.bounced = true
	}
	s.want(c)
	return s.waits(r, s.isReady(c))
}

func (s *Supervisor) doPin(c *component, r control.Request) answer {
	if r.Up {
		c.pinned = pinnedUp
		s.want(c)
	} else {
		c.pinned = pinnedDown
		s.takeDown(c)
	}
	return done
}

func (s *Supervisor) doSignal(c *component, signal int) answer {
	sent := 0
	for _, w := range s.workers {
		if w.component == c {
			s.signal(w, signal)
			sent++
		}
	}
	if sent == 0 {
		return refuse("component %s has no worker", c.plan.Name)
	}
	return done
}

// doDestroy kills every process of a component at once, whatever state it is
// in and whatever it is pinned to. Its finish command is ended too, or does not
// run. One that the supervisor keeps stays down; the next request of others starts
// a fresh worker.
func (s *Supervisor) doDestroy(c *component, r control.Request) answer {
	if c.kept() {
		s.takeDown(c)
		c.destroyed = true
		switch {
		case c.tidying != nil:
			s.call(wire.EndTidy, nil, uint32(c.index)) // Tidy's answer follows
		case c.active():
			s.move(c, control.Stopping, "is destroyed as asked")
			if c.asked {
				c.killed = true
				s.arm(c, killPatience)
			}
		}
	}
	for _, w := range s.workers {
		if w.component == c {
			s.kill(w, "destroyed as asked")
		}
	}
	return s.waits(r, s.hasEnded(c))
}

// doHold is start and stop for a component whose workers others ask for:
// stopped, it gets no new ones, and those that it has are asked to end.
func (s *Supervisor) doHold(c *component, r control.Request) answer {
	switch r.Verb {
	case control.Start:
		s.call(wire.Hold, nil, uint32(c.index), 0)
		c.byHand = false
		return done
	case control.Stop:
		s.call(wire.Hold, nil, uint32(c.index), 1)
		c.byHand = true
		for _, w := range s.workers {
			if w.component != c || w.asked {
				continue
			}
			w.asked = true
			s.signal(w, int(c.plan.Life.StopSignal))
			s.later(c.plan.Life.StopTimeout, workerTimeout{w.id})
		}
		return s.waits(r, s.hasEnded(c))
	}
	return refuse("%s is not for component %s: its workers start %s", r.Verb, c.plan.Name, startWords(c.plan.Start))
}

func startWords(s plan.Start) string {
	return [...]string{
		plan.WithApplication: "with the application", plan.PerConnection: "for each connection",
		plan.PerRequest: "for each request", plan.OnExec: "at each exec", plan.OnDemand: "on demand",
	}[s]
}
