package policy

import (
	"strings"

	"bulkhead/policy/plan"
)

// starts checks who may start whom, and who comes after whom. It returns the
// components that somebody may start.
func (c *compiler) starts(p *plan.Plan) map[string]bool {
	startable := map[string]bool{}
	for i := range p.Components {
		source := &c.file.Components.Entries[i].Value
		for _, name := range source.MayStart {
			startable[name.Value] = true
			other, known := c.file.Components.Find(name.Value)
			switch {
			case !known:
				c.mistake(name.Position, suggestion(name.Value, c.others(p.Components[i].Name)), "no component is named %q", name.Value)
			case startOf(other) != plan.PerRequest && startOf(other) != plan.OnExec:
				c.mistake(name.Position, "write start: per-request or start: on-exec in "+name.Value, "%q starts neither per request nor on exec", name.Value)
			case name.Value == p.Components[i].Name && startOf(other) == plan.OnExec:
				c.mistake(name.Position, "remove it", "%q cannot be split from itself: what it executes there is its own program", name.Value)
			}
		}
		tried := map[string]bool{}
		for _, use := range source.After {
			name := use.Name
			other, known := c.file.Components.Find(name.Value)
			switch {
			case !known:
				c.mistake(name.Position, suggestion(name.Value, c.others(p.Components[i].Name)), "no component is named %q", name.Value)
			case name.Value == p.Components[i].Name:
				c.mistake(name.Position, "remove it", "a component cannot start after itself")
			case startOf(other) != plan.WithApplication:
				c.mistake(name.Position, "", "%q does not start with the application, so nothing can start after it", name.Value)
			}
			if before, twice := tried[name.Value]; twice && before != use.Tried() {
				c.mistake(name.Position, "remove one of them", "%q is to be ready and only to be tried", name.Value)
			}
			tried[name.Value] = use.Tried()
		}
	}
	for i := range p.Components {
		for _, split := range p.Components[i].Splits {
			startable[split.Component] = true
		}
	}
	c.cycles()
	return startable
}

// others are the components beside one.
func (c *compiler) others(name string) []string {
	var names []string
	for _, other := range c.file.Components.Names() {
		if other != name {
			names = append(names, other)
		}
	}
	return names
}

// cycles reports a ring of after: with its whole path.
func (c *compiler) cycles() {
	const (
		open = iota + 1
		done
	)
	state := map[string]int{}
	var stack []string
	var visit func(name string)
	visit = func(name string) {
		component, known := c.file.Components.Find(name)
		if !known || state[name] == done {
			return
		}
		state[name] = open
		stack = append(stack, name)
		for _, use := range component.After {
			before := use.Name
			if state[before.Value] == open && before.Value != name {
				ring := stack
				for ring[0] != before.Value {
					ring = ring[1:]
				}
				c.mistake(before.Position, "one of them must not wait", "components wait for one another: %s after %s",
					strings.Join(ring, " after "), before.Value)
				continue
			}
			if state[before.Value] == 0 {
				visit(before.Value)
			}
		}
		stack = stack[:len(stack)-1]
		state[name] = done
	}
	for _, name := range c.file.Components.Names() {
		visit(name)
	}
}
