package supervisor

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// reload is a changed plan that the monitor has brought. What changes is taken
// down first, in the order of every stop; then the monitor puts the new plan
// in the place of the old one, and what is new or changed starts like anything
// else that is wanted. What does not change is not touched.
type reload struct {
	plan  *plan.Plan
	fd    int                 // of the plan
	same  []int               // by number in plan: the component's number now, or -1
	with  map[*component]bool // unchanged, but restarted by a group's strategy
	asked bool                // the monitor was told that all of it is down
}

// reloading is called when the monitor has everything built.
func (s *Supervisor) reloading(e reloading) {
	p, same, err := s.compare(e.fd)
	if err != nil {
		unix.Close(e.fd)
		s.announce(fmt.Sprintf("the changed policy cannot be used: %v", err))
		s.call(wire.Reload, nil, 0)
		return
	}
	s.reload = &reload{plan: p, fd: e.fd, same: same, with: map[*component]bool{}}
	kept := map[*component]bool{}
	for _, number := range same {
		if number >= 0 {
			kept[s.components[number]] = true
		}
	}
	for _, c := range s.components {
		if !kept[c] {
			c.leaving = true
		}
	}
	s.takeAlong()
	for _, c := range s.components {
		if c.leaving {
			s.leave(c)
		}
	}
}

// compare reads a changed plan, and says what of it is as it was: walls are part
// of that, so the present one is read again.
func (s *Supervisor) compare(fd int) (*plan.Plan, []int, error) {
	time.AfterFunc(upAndQuiet, debug.FreeOSMemory)
	was, err := plan.Load(s.planFD, nil)
	if err != nil {
		return nil, nil, err
	}
	next, err := plan.Load(fd, nil)
	if err != nil {
		return nil, nil, err
	}
	same, err := plan.Same(was, next)
	for i := range next.Components {
		forgetWalls(&next.Components[i])
	}
	return next, same, err
}

// takeAlong restarts, as after a failure, those whom a group's strategy names
// when a member of it changes.
func (s *Supervisor) takeAlong() {
	for _, c := range s.components {
		if !c.leaving || c.group == nil || !c.active() || s.reload.with[c] {
			continue
		}
		for _, other := range c.group.affected(child{component: c}) {
			if !other.leaving && other.active() && other.pinned != pinnedUp {
				other.leaving = true
				s.reload.with[other] = true
			}
		}
	}
}

// leave takes down a component that a reload changes. One that the supervisor
// keeps goes down in reconcile; others get no new workers, and those that they
// have may end what they are at, for as long as a stop may take.
func (s *Supervisor) leave(c *component) {
	if c.kept() {
		if c.waiting {
			c.waiting = false
			s.disarm(c)
		}
		return
	}
	s.call(wire.Hold, nil, uint32(c.index), holdBack)
	for _, w := range s.workers {
		if w.component == c {
			s.later(c.plan.Life.StopTimeout, workerTimeout{w.id})
		}
	}
}

// holdBack lets requests for workers, and connections, wait.
const holdBack = 2

// cause says why a component goes down.
func (r *reload) cause(c *component) string {
	switch {
	case r.with[c]:
		return "restarts together with others, whose policy has changed"
	case slices.ContainsFunc(r.plan.Components, func(p plan.Component) bool { return p.Name == c.plan.Name }):
		return "its policy has changed"
	}
	return "its policy names it no more"
}

// tendReload goes on with a reload when everything that it changes is down.
func (s *Supervisor) tendReload() {
	r := s.reload
	if r == nil || r.asked {
		return
	}
	if s.state == control.Stopping || s.state == control.Stopped {
		s.call(wire.Reload, nil, 0)
		s.dropReload()
		return
	}
	for _, c := range s.components {
		if c.leaving && (c.active() || c.running > 0) {
			return
		}
	}
	r.asked = true
	s.call(wire.Reload, nil, 1)
}

// dropReload goes on as if there had been none.
func (s *Supervisor) dropReload() {
	unix.Close(s.reload.fd)
	s.reload = nil
	for _, c := range s.components {
		if c.leaving && !c.kept() && !c.self && !c.byHand && s.state != control.Stopping && s.state != control.Stopped {
			s.call(wire.Hold, nil, uint32(c.index), 0)
		}
		c.leaving = false
	}
}

// reloaded is called when the monitor has the new plan in place: from here on
// its numbers are those of the new plan.
func (s *Supervisor) reloaded(e reloaded) {
	r := s.reload
	if r == nil {
		return // given up, which both know by now
	}
	if e.components == 0 {
		s.dropReload()
		return
	}
	s.reload = nil
	unix.Close(s.planFD)
	s.planFD = r.fd
	var kept, changed, fresh, gone, along []string
	old := s.byName
	components := make([]*component, len(r.plan.Components))
	for i := range r.plan.Components {
		p := &r.plan.Components[i]
		c := old[p.Name]
		switch {
		case r.same[i] >= 0:
			if c.plan = p; r.with[c] {
				along = append(along, p.Name)
			} else if !c.self {
				kept = append(kept, p.Name)
			}
		case c != nil:
			s.renew(c, p)
			changed = append(changed, p.Name)
		default:
			c = &component{output: s.output.add(p.Name), state: control.Stopped, since: time.Now()}
			c.take(p)
			fresh = append(fresh, p.Name)
		}
		c.index, c.leaving = i, false
		components[i] = c
	}
	for _, c := range s.components {
		if !slices.Contains(components, c) {
			s.remove(c)
			gone = append(gone, c.plan.Name)
		}
	}
	if s.state == control.Stopping || s.state == control.Stopped {
		for _, c := range components {
			c.wanted = false // it is too late for what is new
		}
	}
	groups := s.root
	s.plan, s.components, s.byName = r.plan, components, map[string]*component{}
	s.relate()
	s.root.remember(groups)
	s.makeLogs()
	s.monitor.request(wire.Adopted)
	for _, c := range s.components {
		if c.byHand && !c.kept() {
			s.call(wire.Hold, nil, uint32(c.index), 1) // also of the new compartment
		}
	}
	s.tellReload(kept, changed, fresh, gone, along)
}

// renew gives a component that is down its changed plan. What an operator
// wanted of it stays so; what went wrong with the old plan is forgotten.
func (s *Supervisor) renew(c *component, p *plan.Component) {
	s.disarm(c)
	c.take(p)
	c.wanted = c.wanted && !c.byHand && c.pinned != pinnedDown
	c.done, c.bounced, c.waiting, c.watching, c.lost, c.early = false, false, false, false, false, false
	c.with, c.fd, c.queue, c.health, c.probe = nil, nil, 0, health{checks: c.health.checks}, probe{}
	if !c.kept() {
		c.worker = nil
	}
}

// remove forgets a component that is down.
func (s *Supervisor) remove(c *component) {
	s.disarm(c)
	s.stopWatchdog(c)
	c.wanted, c.waiting, c.bounced, c.cause = false, false, false, "its policy names it no more"
	s.output.remove(c.output)
}

// remember takes over the restarts that groups of the same names have had.
func (g *group) remember(before *group) {
	g.restarts = before.restarts
	for _, inner := range g.groups {
		for _, was := range before.groups {
			if was.name == inner.name {
				inner.remember(was)
			}
		}
	}
}

func (s *Supervisor) tellReload(kept, changed, fresh, gone, along []string) {
	var said []string
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"changed", changed}, {"restarted with them", along}, {"new", fresh}, {"gone", gone}, {"untouched", kept},
	} {
		if len(part.names) > 0 {
			said = append(said, part.what+": "+list(part.names))
		}
	}
	text := "runs its changed policy; " + strings.Join(said, "; ")
	s.journal.add(control.Event{Kind: control.EventReload, Text: text})
	if !s.plan.Quiet {
		s.announce(text)
	}
}
