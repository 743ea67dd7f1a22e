package supervisor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// The news of the monitor about workers. Each says whether the life cycle
// may go on because of it.

func (s *Supervisor) workerStarted(e workerStarted) bool {
	c := s.components[e.component]
	w := &worker{id: e.worker, component: c, pid: e.pid, started: time.Now(), by: e.by}
	s.workers[w.id] = w
	c.running++
	c.total++
	if !c.kept() {
		if c.self {
			c.worker = w
		}
		s.journal.tell(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Worker: w.id, PID: w.pid, Text: "started"})
		switch {
		case s.forced && !c.self:
			s.kill(w, killedWithAll)
		case c.leaving: // its request was under way before the reload
			s.later(c.plan.Life.StopTimeout, workerTimeout{w.id})
		}
		return false
	}
	if !c.asked {
		// Nobody wants it: the start was given up before it came about.
		s.kill(w, "killed: its start was given up before")
		return false
	}
	c.asked, c.worker = false, w
	switch {
	case s.forced:
		s.kill(w, killedWithAll)
	case c.killed: // its time to stop in is over, or it was to go at once
		s.kill(w, "killed as soon as it ran: "+c.cause)
	case c.state == control.Stopping:
		s.askEnd(c, c.cause)
	default:
		s.awaitReady(c)
	}
	return true
}

func (s *Supervisor) workerFailed(e workerFailed) bool {
	c := s.components[e.component]
	failure := end{how: wire.NotRun, code: uint32(e.errno), step: e.step}
	if c.kept() && c.asked {
		s.ended(c, failure)
		return true
	}
	c.last, c.lastAt = failure, time.Now()
	c.abnormal++
	s.tellWorker(c, e.worker, 0, failure.String())
	return false
}

func (s *Supervisor) workerEnded(e workerEnded) bool {
	w := s.workers[e.worker]
	if w == nil {
		return false // its compartment was lost, or it was given up, before
	}
	if w.killed != "" {
		e.reason = w.killed
	}
	c := w.component
	c.processor += e.processor
	c.peak = max(c.peak, e.peak)
	how := end{how: e.how, code: e.code, reason: e.reason}
	if e.reason == wire.LeftProcesses {
		how.reason, how.left = "", true
	}
	s.gone(w, how)
	return true
}

// gone takes a worker that has ended out of the books.
func (s *Supervisor) gone(w *worker, e end) {
	c := w.component
	delete(s.workers, w.id)
	c.running--
	if c.worker == w && c.kept() {
		c.gone = w.id
		s.ended(c, e)
		return
	}
	c.last, c.lastAt = e, time.Now()
	if !e.normal() && !w.asked && w.killed == "" {
		c.abnormal++
		s.tellWorker(c, w.id, w.pid, e.String())
		return
	}
	s.journal.tell(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Worker: w.id, PID: w.pid, Text: e.String()})
	if c.running == 0 {
		s.output.say("", c.output)
	}
}

// killUnheard is the tick of a worker that was killed.
type killUnheard struct{ worker uint32 }

func (s *Supervisor) killUnheard(e killUnheard) {
	w := s.workers[e.worker]
	if w == nil {
		return
	}
	if s.status == 0 {
		s.status = statusBroken
	}
	s.gone(w, end{
		how: wire.Signaled, code: uint32(unix.SIGKILL),
		reason: fmt.Sprintf("is still there %s after SIGKILL and is given up", killPatience),
	})
}

func (s *Supervisor) workerSays(e workerSays) bool {
	c := s.components[e.component]
	mine := c.worker != nil && c.worker.id == e.worker
	switch e.op {
	case wire.Ready:
		// A worker may be heard before the monitor says that it runs; one that
		// has ended says nothing for the next.
		if c.plan.Life.Ready.Kind == plan.ReadyNotify && (mine || c.worker == nil && e.worker != c.gone) {
			s.saysReady(c)
			return true
		}
	case wire.Status:
		c.says = e.text
		s.journal.tell(control.Event{Kind: control.EventSays, Component: c.plan.Name, Worker: e.worker, Text: e.text})
	case wire.Watchdog:
		switch {
		case !mine || !c.state.Up() || c.frozen:
		case e.text == "trigger" && c.plan.Life.Watchdog > 0:
			s.abort(c, "it has triggered its watchdog")
			return true
		case e.text == "":
			s.startWatchdog(c)
		}
	}
	return false
}

// compartmentLost is called when the init of a compartment has died, and all
// of its workers with it.
func (s *Supervisor) compartmentLost(e compartmentLost) {
	c := s.components[e.component]
	reason := "its compartment was lost: " + e.why
	s.journal.add(control.Event{Kind: control.EventWorker, Component: c.plan.Name, Text: reason})
	c.lost = true
	for _, w := range s.workers {
		if w.component == c {
			s.gone(w, end{how: wire.Signaled, code: uint32(unix.SIGKILL), reason: reason})
		}
	}
	if c.kept() || c.self || s.state == control.Stopping {
		return
	}
	// The workers of others start without the supervisor, so the compartment
	// is built at once.
	s.tell(c, reason)
	s.rebuild(c, rebuildFirst)
}

// The delays between tries to build a compartment again, each twice the one
// before it.
const (
	rebuildFirst = 200 * time.Millisecond
	rebuildLast  = 10 * time.Second
)

// rebuildTick is the tick of a compartment that could not be built again.
type rebuildTick struct {
	component *component
	waited    time.Duration
}

// rebuild builds the compartment of a component whose workers others start. If
// that fails it is tried again: no start of a worker would ask for it, and what
// there was too little of may be there later.
func (s *Supervisor) rebuild(c *component, wait time.Duration) {
	s.call(wire.Rebuild, func(r reply) {
		if c.lost = r.status != 0; c.lost {
			s.tell(c, fmt.Sprintf("its compartment cannot be built again: %s; another try in %s", r.reason, wait))
			s.later(wait, rebuildTick{c, wait})
		}
	}, uint32(c.index))
}

func (s *Supervisor) rebuildAgain(e rebuildTick) {
	c := e.component
	// A reload may have given it another, or taken it away.
	if c.lost && !c.kept() && s.byName[c.plan.Name] == c && s.state != control.Stopping && s.state != control.Stopped {
		s.rebuild(c, min(2*e.waited, rebuildLast))
	}
}

// watchdogTick is the tick of a watchdog.
type watchdogTick struct {
	component  *component
	generation uint64
	due        time.Time
}

func (s *Supervisor) startWatchdog(c *component) {
	s.stopWatchdog(c)
	if limit := c.plan.Life.Watchdog; limit > 0 {
		c.watchdog = s.later(limit, watchdogTick{c, c.watchdogs, time.Now().Add(limit)})
	}
}

func (s *Supervisor) stopWatchdog(c *component) {
	c.watchdogs++
	if c.watchdog != nil {
		c.watchdog.Stop()
		c.watchdog = nil
	}
}

// watchdogSlack is how late a silence may be found out. A broker that is later
// than that did not listen itself, because it was stopped or had no processor,
// and cannot say that nothing was to be heard.
const watchdogSlack = time.Second

// watchdogMissed is called when a component was silent for too long. What it
// said may still be on its way through the monitor, so that is asked first: its
// answer comes behind whatever it has heard before.
func (s *Supervisor) watchdogMissed(e watchdogTick) {
	c := e.component
	s.call(wire.Announce, func(reply) {
		switch {
		case e.generation != c.watchdogs || c.worker == nil:
		case time.Since(e.due) > watchdogSlack:
			s.startWatchdog(c)
		default:
			s.abort(c, fmt.Sprintf("its watchdog heard nothing for %s", c.plan.Life.Watchdog))
		}
	}, announceLives)
}

// abort ends a component at its watchdog's wish, by SIGABRT as systemd does, so
// that it may leave a trace of what it hung in.
func (s *Supervisor) abort(c *component, why string) {
	c.verdict = why
	s.move(c, control.Stopping, c.verdict)
	s.signal(c.worker, int(unix.SIGABRT))
	s.arm(c, max(c.plan.Life.StopTimeout, time.Millisecond))
}
