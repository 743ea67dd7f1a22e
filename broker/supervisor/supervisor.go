package supervisor

import (
	"fmt"
	"math/rand/v2"
	"time"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// Supervisor is the life cycle of one application. One goroutine, that of
// loop, owns every field; everybody else talks to it by post.
type Supervisor struct {
	plan    *plan.Plan // without its walls
	planFD  int        // with them
	monitor monitor
	output  *output
	random  func() float64

	events  chan any
	over    chan struct{} // closed when loop has ended
	replies map[uint32]func(reply)

	components []*component // by index in the plan
	byName     map[string]*component
	root       *group
	workers    map[uint32]*worker
	journal    journal
	denials    denials
	waiters    []*waiter
	logs       []*log
	unopened   int     // of logs
	reload     *reload // under way, nil: none

	state    control.State // of the application
	cause    string
	started  time.Time
	status   int       // with which it will end
	mishap   int       // the status of the first component that failed for good
	askedAt  time.Time // when it was first asked to stop
	forced   bool      // everything was killed
	finished bool
}

// newSupervisor prepares the life cycle of a plan.
func newSupervisor(p *plan.Plan, m monitor, o *output) *Supervisor {
	s := &Supervisor{
		plan: p, monitor: m, output: o, random: rand.Float64,
		events:  make(chan any, 64),
		over:    make(chan struct{}),
		replies: make(map[uint32]func(reply)),
		byName:  make(map[string]*component),
		workers: make(map[uint32]*worker),
		state:   control.Starting,
		started: time.Now(),
	}
	for i := range p.Components {
		c := &component{index: i, output: o.sources[i], state: control.Stopped, since: s.started}
		c.take(&p.Components[i])
		if c.self {
			c.state = control.Running
		}
		s.components = append(s.components, c)
	}
	s.relate()
	s.makeLogs()
	return s
}

// take gives a component its plan.
func (c *component) take(p *plan.Component) {
	c.plan, c.self = p, p.Name == selfName
	c.backoff = backoff{first: p.Life.Delay, maximum: p.Life.DelayMaximum}
	c.wanted = c.kept() && !c.onDemand()
}

// relate finds out who stands how to whom, as the plan says.
func (s *Supervisor) relate() {
	clear(s.byName)
	for _, c := range s.components {
		s.byName[c.plan.Name] = c
		c.after, c.tried, c.before, c.group = nil, nil, nil, nil
	}
	for _, c := range s.components {
		c.after = s.precede(c, c.plan.Life.After)
		c.tried = s.precede(c, c.plan.Life.AfterTried)
	}
	s.root = newGroup(&s.plan.Supervision, nil, s.byName)
	for _, c := range s.components {
		if c.kept() && c.group == nil { // in no group of the policy: the root's
			c.group = s.root
			s.root.members = append(s.root.members, c)
		}
	}
}

// precede puts components before another one.
func (s *Supervisor) precede(c *component, names []string) (before []*component) {
	for _, name := range names {
		if other := s.byName[name]; other != nil && other.kept() && c.kept() {
			before = append(before, other)
			other.before = append(other.before, c)
		}
	}
	return before
}

// selfName is the component that the supervisor itself is.
const selfName = "supervisor"

// post hands an event to loop; after its end events go nowhere.
func (s *Supervisor) post(event any) {
	select {
	case s.events <- event:
	case <-s.over:
	}
}

// later posts an event after a time.
func (s *Supervisor) later(after time.Duration, event any) *time.Timer {
	return time.AfterFunc(after, func() { s.post(event) })
}

// call asks the monitor; then is called with the answer, in loop.
func (s *Supervisor) call(op wire.Op, then func(reply), fields ...uint32) {
	id := s.monitor.request(op, fields...)
	if then != nil {
		s.replies[id] = then
	}
}

// loop runs the application to its end and returns the exit status that it
// reported.
func (s *Supervisor) loop() (int, error) {
	defer close(s.over)
	s.openLogs()
	s.reconcile()
	for !s.finished {
		event := <-s.events
		if gone, ok := event.(monitorGone); ok {
			return statusBroken, gone.err
		}
		if s.handle(event) {
			s.reconcile()
		}
	}
	return s.status, nil
}

// handle takes one event and says whether the life cycle may go on because
// of it.
func (s *Supervisor) handle(event any) bool {
	switch e := event.(type) {
	case reply:
		if then := s.replies[e.id]; then != nil {
			delete(s.replies, e.id)
			then(e)
			return true
		}
		return false
	case outputPipe:
		return s.takePipe(e)
	case workerStarted:
		return s.workerStarted(e)
	case workerFailed:
		return s.workerFailed(e)
	case workerEnded:
		return s.workerEnded(e)
	case workerSays:
		return s.workerSays(e)
	case compartmentLost:
		s.compartmentLost(e)
	case denied:
		s.denied(e)
		return false
	case granted:
		s.granted(e)
		return false
	case queued:
		c := s.components[e.component]
		c.queue = e.length
		s.journal.tell(control.Event{Kind: control.EventQueue, Component: c.plan.Name, Text: fmt.Sprintf("%d requests wait", e.length)})
		return false
	case demanded:
		s.demanded(e)
	case named:
		c := s.components[e.component]
		s.journal.add(control.Event{Kind: control.EventSays, Component: c.plan.Name, Text: e.text})
		if !e.resolves {
			s.tell(c, e.text)
		}
		return false
	case idleTick:
		s.idle(e)
		return false
	case healthTick:
		s.check(e)
		return false
	case healthSocket:
		s.healthSocket(e)
		return false
	case checked:
		s.checked(e)
	case rotateLog:
		s.rotateLog(e)
		return false
	case logOpened:
		s.logOpened(e)
		return false
	case reloading:
		s.reloading(e)
	case reloaded:
		s.reloaded(e)
	case stopAsked:
		s.stopAsked(e)
	case pipeReady:
		c := e.component
		if c.fd.generation == e.generation {
			s.saysReady(c)
		}
	case componentTick:
		return s.tick(e)
	case lifeTick:
		s.tellLife(e)
		return false
	case watchdogTick:
		if e.generation == e.component.watchdogs {
			s.watchdogMissed(e)
		}
		return false
	case workerTimeout:
		if w := s.workers[e.worker]; w != nil {
			s.kill(w, fmt.Sprintf("killed: it did not stop within %s", w.component.plan.Life.StopTimeout))
		}
		return false
	case killUnheard:
		s.killUnheard(e)
	case rebuildTick:
		s.rebuildAgain(e)
		return false
	case probeAgain:
		if e.component.worker == e.worker && e.component.state == control.Starting {
			s.tryProbe(e.component)
		}
		return false
	case ask:
		s.answer(e)
	case forget:
		s.forget(e.waiter)
		return false
	case settled:
		s.finish()
	case finishUnheard:
		s.finished = true
	}
	return true
}

func (s *Supervisor) takePipe(e outputPipe) bool {
	c := s.components[e.component]
	if e.stream < readyStream {
		if err := s.output.follow(c.output, int(e.stream), e.fd); err != nil {
			s.tell(c, fmt.Sprintf("its output cannot be read: %v", err))
		}
		return false
	}
	pipe, err := s.newReadyPipe(c, e.fd)
	if err != nil {
		s.tell(c, fmt.Sprintf("its readiness cannot be read: %v", err))
		return false
	}
	c.fd = pipe
	return false
}

// reconcile starts and stops whatever may start and stop by now. It looks at
// what is wanted and what is, never at how it came about: so an event that
// was overtaken by another leaves nothing undone.
func (s *Supervisor) reconcile() {
	s.dropReleased()
	for _, c := range s.components {
		switch {
		case !c.kept():
		case s.mayStop(c):
			s.stop(c)
		case s.mayStart(c):
			s.start(c)
		case s.mayWatch(c):
			s.watch(c)
		}
	}
	s.tendReload()
	s.settle()
	s.answerWaiters()
}

// dropReleased takes down what was released and is needed no more. One that
// goes down may have been the last that needed another.
func (s *Supervisor) dropReleased() {
	for again := true; again; {
		again = false
		for _, c := range s.components {
			if c.released && c.wanted && !s.needed(c) {
				s.takeDown(c)
				again = true
			}
		}
	}
}

func (s *Supervisor) needed(c *component) bool {
	for _, other := range c.before {
		if other.wanted {
			return true
		}
	}
	return false
}

func (s *Supervisor) mayStart(c *component) bool {
	return s.unopened == 0 && c.wanted && !c.leaving && !c.active() && !c.waiting && !c.held() && c.pinned != pinnedDown && len(c.waitsFor()) == 0
}

// mayStop says whether a component that goes down may do so now: those that
// come after it and go down too go first.
func (s *Supervisor) mayStop(c *component) bool {
	if !c.goingDown() || c.state == control.Stopping {
		return false
	}
	for _, other := range c.before {
		if other.goingDown() {
			return false
		}
	}
	return true
}
