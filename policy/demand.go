package policy

import "bulkhead/policy/plan"

// keptUp says whether the supervisor keeps one worker up, always or from the
// first connection on.
func keptUp(start plan.Start) bool { return start == plan.WithApplication || start == plan.OnDemand }

// demand checks what start: on-demand needs.
func (c *componentCompiler) demand(component *plan.Component) {
	s := c.source
	if component.Start != plan.OnDemand {
		if s.Idle.IsSet() {
			c.mistake(s.Idle.Position, "remove it, or write start: on-demand", "idle: is for components that start on demand")
		}
		return
	}
	listens, connections := false, true
	for _, b := range component.Grants {
		if g := &c.grants[b.Grant]; g.Kind == plan.GrantListen {
			listens = true
			connections = connections && (g.Network == "tcp" || g.Network == "unix")
		}
	}
	if !listens {
		c.mistake(s.Start.Position, "name a listening grant under grants:", "start: on-demand needs a listening socket")
	}
	if s.Idle.IsSet() && !connections {
		c.mistake(s.Idle.Position, "remove it: the program ends itself when it has nothing to do", "a datagram socket does not show whether somebody still wants an answer")
	}
	if s.Idle.IsSet() && s.Idle.Value <= 0 {
		c.mistake(s.Idle.Position, "write 60s", "it would never be up")
	}
	if s.Essential.Value {
		c.mistake(s.Essential.Position, "remove it", "a component that comes and goes cannot be essential")
	}
	if s.Restart.Value == "always" {
		c.mistake(s.Restart.Position, "write on-failure", "with start: on-demand the next connection starts it again")
	}
}
