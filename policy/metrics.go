package policy

import "bulkhead/policy/plan"

// metrics finds the grant on which the supervisor tells numbers. Nobody else
// accepts there: a component would take the connections away.
func (c *compiler) metrics(p *plan.Plan) string {
	name := c.file.Control.Metrics
	if !name.IsSet() {
		return ""
	}
	for i := range p.Grants {
		g := &p.Grants[i]
		switch {
		case g.Name != name.Value:
			continue
		case g.Kind != plan.GrantListen || g.Network != "tcp" && g.Network != "unix":
			c.mistake(name.Position, "name a grant with listen: tcp:… or unix:…", "%q takes no connections", name.Value)
		case c.used[name.Value]:
			c.mistake(name.Position, "make a grant of its own for it", "a component has the grant %q too", name.Value)
		}
		c.used[name.Value] = true
		return name.Value
	}
	c.mistake(name.Position, suggestion(name.Value, c.file.Grants.Names()), "no grant is named %q", name.Value)
	return ""
}
