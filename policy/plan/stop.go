package plan

import "time"

// endTime is what a component's end takes beside its time-outs, from SIGKILL to the
// news of it, on a busy machine.
const endTime = time.Second

// StopTime is what the components let a stop in order take: those that come after
// one another stop one after the other, each with its finish command; the workers
// of connections end when nobody else is left.
func (p *Plan) StopTime() time.Duration {
	byName := map[string]*Component{}
	for i := range p.Components {
		byName[p.Components[i].Name] = &p.Components[i]
	}
	known := map[*Component]time.Duration{}
	var upTo func(c *Component) time.Duration
	upTo = func(c *Component) time.Duration {
		if d, ok := known[c]; ok {
			return d
		}
		known[c] = 0 // whoever stands in a circle; no policy compiles to one
		var before time.Duration
		for _, name := range c.Life.Order() {
			if other := byName[name]; other != nil {
				before = max(before, upTo(other))
			}
		}
		known[c] = before + c.Life.StopTimeout + endTime
		if len(c.Life.Finish.Command) > 0 {
			known[c] += c.Life.Finish.Timeout
		}
		return known[c]
	}
	var kept, connections time.Duration
	for i := range p.Components {
		switch c := &p.Components[i]; c.Start {
		case WithApplication, OnDemand:
			kept = max(kept, upTo(c))
		case PerConnection:
			connections = max(connections, c.Life.StopTimeout+endTime)
		}
	}
	return kept + connections
}
