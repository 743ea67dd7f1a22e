package plan

import (
	"bytes"
	"slices"
)

// Same says of each component of after which component of before it is,
// unchanged, or -1: the answer that everybody who takes part in a reload of
// the policy finds by itself. Where it stands in its file, and in which order,
// changes nothing; what the grants that it refers to are, does.
func Same(before, after *Plan) ([]int, error) {
	old := map[string]int{}
	for i := range before.Components {
		old[before.Components[i].Name] = i
	}
	same := make([]int, len(after.Components))
	for i := range after.Components {
		same[i] = -1
		k, known := old[after.Components[i].Name]
		if !known {
			continue
		}
		was, err := before.essence(k)
		if err != nil {
			return nil, err
		}
		is, err := after.essence(i)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(was, is) {
			same[i] = k
		}
	}
	return same, nil
}

// essence is all that a component is and may, encoded.
func (p *Plan) essence(index int) ([]byte, error) {
	type right struct {
		Grant  Grant
		Number int
	}
	var all struct {
		Component Component
		Rights    []right
		Ready     Grant
		Health    Grant
		Starts    []Start // of those that it may start, which decide how it asks
	}
	c := p.Components[index]
	c.Position, c.Generation, c.Number = Position{}, 0, 0
	c.Root = slices.Clone(c.Root)
	for i := range c.Root {
		c.Root[i].Position, c.Root[i].Reason = Position{}, ""
	}
	c.Syscalls.Program = nil // made from the rules
	for _, b := range c.Grants {
		all.Rights = append(all.Rights, right{p.grant(b.Grant), b.Number})
	}
	c.Grants = nil
	if c.Life.Ready.Kind == ReadyConnect {
		all.Ready = p.grant(c.Life.Ready.Grant)
	}
	if c.Life.Health.Kind == HealthConnect || c.Life.Health.Kind == HealthHTTP {
		all.Health = p.grant(c.Life.Health.Grant)
	}
	for _, name := range c.MayStart {
		for k := range p.Components {
			if p.Components[k].Name == name {
				all.Starts = append(all.Starts, p.Components[k].Start)
			}
		}
	}
	c.Life.Ready.Grant, c.Life.Health.Grant = 0, 0
	all.Component = c
	return Encode(&all)
}

func (p *Plan) grant(index int) Grant {
	if index < 0 || index >= len(p.Grants) {
		return Grant{}
	}
	g := p.Grants[index]
	g.Position = Position{}
	return g
}

// SameSocket says whether two grants listen at the same place: then there is
// one socket for both, whatever they are called.
func SameSocket(a, b *Grant) bool {
	return a.Kind == GrantListen && b.Kind == GrantListen &&
		a.Network == b.Network && a.Address == b.Address && a.Port == b.Port
}
