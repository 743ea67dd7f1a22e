package supervisor

import (
	"sort"
	"time"

	"bulkhead/broker/control"
)

// statusLines is how many of a component's last lines a status shows.
const statusLines = 10

// statusLineBytes is how much of a line a status shows; logs show all.
const statusLineBytes = 512

// report copies everything that a client may know. The lines and workers of
// 200 components are some hundred kilobytes; a client's own goroutine turns
// them into JSON.
func (s *Supervisor) report() *control.Status {
	r := &control.Status{
		Application: s.plan.Application,
		Policy:      s.plan.Source,
		State:       s.state,
		Cause:       s.cause,
		Started:     s.started,
		Now:         time.Now(),
		MoreDenials: s.denials.more,
		Logs:        s.reportLogs(),
	}
	for _, c := range s.components {
		r.Components = append(r.Components, s.reportComponent(c))
	}
	for _, w := range s.sortedWorkers() {
		c := &r.Components[w.component.index]
		if len(c.Workers) < control.MaximumWorkers {
			c.Workers = append(c.Workers, w.told())
		}
	}
	for _, d := range s.denials.order {
		r.Denials = append(r.Denials, *d)
	}
	r.Groups = reportGroup(nil, s.root, r.Now)
	return r
}

func (s *Supervisor) reportComponent(c *component) control.Component {
	r := control.Component{
		Name: c.plan.Name, Program: c.plan.Program, Start: startName(c.plan.Start),
		State: c.state, Since: c.since, Cause: c.cause,
		After: c.plan.Life.Order(), Essential: c.plan.Life.Essential, Frozen: c.frozen, Wanted: c.kept() && c.wanted,
		Pinned: c.pinned.String(), Released: c.released, Says: c.says,
		Restarts: c.restarts, Running: c.running, Total: c.total, Abnormal: c.abnormal,
		Queue: int(c.queue), Processor: c.processor, Peak: c.peak,
		Grants: append([]control.Grant(nil), c.grants...), Denied: c.denied,
		Health: c.health.String(),
		Lines:  c.output.last(statusLines),
	}
	for i := range r.Lines {
		if line := &r.Lines[i]; len(line.Text) > statusLineBytes {
			line.Text, line.Broken = line.Text[:statusLineBytes], true
		}
	}
	if !c.kept() && !c.self {
		// It has no state of its own: it runs where a worker of it does.
		r.State = control.Stopped
		if c.running > 0 {
			r.State = control.Running
		}
	}
	if c.wanted && !c.active() {
		for _, other := range c.waitsFor() {
			r.WaitsFor = append(r.WaitsFor, other.plan.Name)
		}
	}
	if c.waiting {
		at := c.since.Add(c.wait)
		r.RestartAt = &at
	}
	if !c.lastAt.IsZero() {
		at := c.lastAt
		r.LastEnd, r.LastEndAt = c.last.String(), &at
	}
	return r
}

func reportGroup(all []control.Group, g *group, now time.Time) []control.Group {
	g.forget(now)
	r := control.Group{
		Name: g.name, Strategy: strategyName(g.strategy),
		Restarts: len(g.restarts), Limit: g.limit, Within: g.within.String(),
	}
	if g.parent != nil {
		r.Parent = g.parent.name
	}
	for _, c := range g.members {
		r.Members = append(r.Members, c.plan.Name)
	}
	all = append(all, r)
	for _, inner := range g.groups {
		all = reportGroup(all, inner, now)
	}
	return all
}

func (s *Supervisor) sortedWorkers() []*worker {
	all := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		all = append(all, w)
	}
	sort.Slice(all, func(i, k int) bool { return all[i].id < all[k].id })
	return all
}

// reportWorkers is what `sandbox ps` shows.
func (s *Supervisor) reportWorkers(only string) []control.Worker {
	var all []control.Worker
	for _, w := range s.sortedWorkers() {
		if only == "" || w.component.plan.Name == only {
			all = append(all, w.told())
		}
	}
	return all
}
