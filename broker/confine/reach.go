package confine

import (
	"path"
	"slices"
	"strings"

	"bulkhead/policy/plan"
)

// Place is what of the host's files the monitor of a plan can reach.
type Place struct {
	Path     string
	Writable bool
}

// Places are what the monitors of some plans open beneath, by path, none in
// another. Of a file that is granted it is the directory: a file that was
// replaced has to be found.
func Places(plans ...*plan.Plan) []Place {
	var all []Place
	add := func(at string, writable bool) { all = append(all, Place{path.Clean(at), writable}) }
	for _, p := range plans {
		for i := range p.Grants {
			g := &p.Grants[i]
			writes := g.Create || g.Access&^plan.Read != 0
			switch {
			case g.Kind == plan.GrantDirectory:
				add(g.Path, writes)
			case g.Kind == plan.GrantFile || g.Kind == plan.GrantDevice:
				add(path.Dir(g.Path), writes)
			case g.Kind == plan.GrantConnect && strings.HasPrefix(g.Address, "/"):
				add(path.Dir(g.Address), false)
			}
		}
		for i := range p.Logs {
			if p.Logs[i].Kind == plan.LogJournald {
				add(path.Dir(plan.JournaldSocket), false)
			} else {
				add(path.Dir(p.Logs[i].Name), true)
			}
		}
		for i := range p.Components {
			for _, directory := range p.Components[i].Pass.Directories {
				add(directory, false)
			}
		}
	}
	return Fold(all)
}

// Fold sorts places and leaves out those that lie in another, which is writable
// then if one of them was.
func Fold(all []Place) []Place {
	slices.SortFunc(all, func(a, b Place) int { return strings.Compare(a.Path, b.Path) })
	var folded []Place
	for _, p := range all {
		within := slices.IndexFunc(folded, func(o Place) bool {
			return p.Path == o.Path || o.Path == "/" || strings.HasPrefix(p.Path, o.Path+"/")
		})
		if within < 0 {
			folded = append(folded, p)
		} else {
			folded[within].Writable = folded[within].Writable || p.Writable
		}
	}
	return folded
}
