package supervisor

import (
	"fmt"
	"time"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

// component is what the supervisor knows about one component of the plan.
type component struct {
	index   int
	plan    *plan.Component
	output  *source
	group   *group       // nil unless kept
	after   []*component // kept ones that are ready before it
	tried   []*component // kept ones that are ready before it, or whose start has failed
	before  []*component // the other direction of both
	fd      *readyPipe   // plan.ReadyFD
	self    bool         // the supervisor
	state   control.State
	since   time.Time
	cause   string
	backoff backoff

	// What is wanted of it. A component goes up when wanted and down when
	// not; bounced, it goes down and, still wanted, up again.
	wanted   bool
	bounced  bool
	released bool // not wanted once no wanted one comes after it
	pinned   pin
	byHand   bool          // an operator took it down
	done     bool          // it ended by itself and its policy does not start it again
	with     []*component  // those that restart together with it: all are down before it starts
	wait     time.Duration // before its next start
	waiting  bool          // until the timer says that wait is over

	// Its one worker, when it is kept. asked is set from the request for a
	// worker to the news of it.
	asked     bool
	attempt   uint64 // counts the requests: an answer to an earlier one is stale
	askedAt   time.Time
	worker    *worker
	gone      uint32 // its last worker
	early     bool   // it said that it is ready before the monitor said that it runs
	verdict   string // why it is being ended for failing, or ""
	killed    bool
	destroyed bool      // as somebody asked: no finish command keeps it
	tidying   func(end) // its finish command runs, and this follows; nil: none does
	frozen    bool      // its processes stand still
	lost      bool      // its compartment must be built again first
	leaving   bool      // a reload takes it down
	timer     *time.Timer
	timers    uint64 // the generation of timer: a tick of another one is stale
	watchdog  *time.Timer
	watchdogs uint64
	probe     probe
	health    health
	watching  bool      // onDemand: the monitor tells when a connection waits
	busyAt    time.Time // onDemand: when it last had a connection

	// What is told about it.
	says      string
	restarts  int
	last      end
	lastAt    time.Time
	running   int
	total     uint64
	abnormal  uint64
	queue     uint32
	processor uint64
	peak      uint64
	denied    uint64
	grants    []control.Grant
	quiet     quiet

	quietDenials quiet
}

// pin holds a component in a state, whatever is asked.
type pin uint8

const (
	notPinned pin = iota
	pinnedUp
	pinnedDown
)

func (p pin) String() string { return [...]string{"", "up", "down"}[p] }

// kept says whether the supervisor keeps one worker of the component up;
// workers of other components start when somebody else needs them.
func (c *component) kept() bool {
	return (c.plan.Start == plan.WithApplication || c.onDemand()) && !c.self
}

// active says whether the component has, or will soon have, a worker.
func (c *component) active() bool {
	return c.state == control.Starting || c.state.Up() || c.state == control.Stopping
}

// served says whether those that come after the component may start: it is
// ready, or it was a task that is done.
func (c *component) served() bool {
	return c.state.Up() || c.done && c.last.normal()
}

// goingDown says whether the component is up and should not be.
func (c *component) goingDown() bool {
	return c.active() && (!c.wanted || c.bounced || c.leaving)
}

// held says whether somebody who restarts together with the component is not
// down yet.
func (c *component) held() bool {
	for _, other := range c.with {
		if other.bounced {
			return true
		}
	}
	return false
}

// waitsFor returns the components that must be ready before it starts, or whose
// start must have failed, and of which that is not so.
func (c *component) waitsFor() []*component {
	var missing []*component
	for _, other := range c.after {
		if !other.served() {
			missing = append(missing, other)
		}
	}
	if len(c.tried) > 0 {
		known := make(map[*component]bool)
		for _, other := range c.tried {
			if !other.served() && !other.failing(known) {
				missing = append(missing, other)
			}
		}
	}
	return missing
}

// without returns the components that it starts without, though it comes after
// them.
func (c *component) without() (names []string) {
	for _, other := range c.tried {
		if !other.served() {
			names = append(names, other.plan.Name)
		}
	}
	return names
}

// failing says whether the component is not ready and nothing that is under way
// makes it so now: it has failed and may be about to start again, is not
// wanted, or comes after one that is failing. known holds what was found
// before, because many ways may lead to one component.
func (c *component) failing(known map[*component]bool) bool {
	if is, ok := known[c]; ok {
		return is
	}
	is := !c.active() && (!c.wanted || c.waiting || c.pinned == pinnedDown)
	if !c.active() {
		for _, other := range c.after {
			is = is || !other.served() && other.failing(known)
		}
	}
	known[c] = is
	return is
}

// hopeless says whether the component is wanted and nothing that is under way
// will start it: one that it waits for has ended for good. known holds what
// was found before, because many ways may lead to one component.
func (c *component) hopeless(known map[*component]bool) bool {
	if is, ok := known[c]; ok {
		return is
	}
	is := false
	for _, other := range c.after {
		if !other.served() && !other.active() && (!other.wanted || other.hopeless(known)) {
			is = true
		}
	}
	known[c] = is
	return is
}

// lacks says why the component is hopeless: which of those that it comes after,
// by way of others too, are down for good.
func (c *component) lacks(seen map[*component]bool) (said []string) {
	for _, other := range c.after {
		switch {
		case other.served() || other.active() || seen[other]:
		case other.wanted:
			seen[other] = true
			said = append(said, other.lacks(seen)...)
		default:
			seen[other] = true
			text := fmt.Sprintf("%s, which is %s", other.plan.Name, other.state)
			if other.cause != "" {
				text += ": " + other.cause
			}
			said = append(said, text)
		}
	}
	return said
}

func startName(s plan.Start) string {
	return [...]string{
		plan.WithApplication: "with-application", plan.PerConnection: "per-connection",
		plan.PerRequest: "per-request", plan.OnExec: "on-exec", plan.OnDemand: "on-demand",
	}[s]
}
