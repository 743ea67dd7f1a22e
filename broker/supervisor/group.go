package supervisor

import (
	"fmt"
	"time"

	"bulkhead/policy/plan"
)

// group is a node of the supervision tree. Its children are its members and
// then its groups, in the order of the policy.
type group struct {
	name     string
	parent   *group
	strategy plan.Strategy
	limit    int
	within   time.Duration
	members  []*component
	groups   []*group
	restarts []time.Time // in the window, oldest first; at most limit+1
}

func newGroup(p *plan.Group, parent *group, byName map[string]*component) *group {
	g := &group{name: p.Name, parent: parent, strategy: p.Strategy, limit: p.Restarts, within: p.Within}
	for _, name := range p.Members {
		if c := byName[name]; c != nil && c.kept() {
			c.group = g
			g.members = append(g.members, c)
		}
	}
	for i := range p.Groups {
		g.groups = append(g.groups, newGroup(&p.Groups[i], g, byName))
	}
	return g
}

// tooOften says that the group has failed.
func (g *group) tooOften() string {
	text := fmt.Sprintf("more than %d restarts within %s", g.limit, g.within)
	if g.parent == nil {
		return text
	}
	return "group " + g.name + ": " + text
}

// exceeded notes a restart and says whether it is one too many.
func (g *group) exceeded(now time.Time) bool {
	g.forget(now)
	g.restarts = append(g.restarts, now)
	return len(g.restarts) > g.limit
}

func (g *group) forget(now time.Time) {
	kept := g.restarts[:0]
	for _, at := range g.restarts {
		if now.Sub(at) < g.within {
			kept = append(kept, at)
		}
	}
	g.restarts = kept
}

// all returns the components of the group and of the groups in it.
func (g *group) all() []*component {
	all := append([]*component(nil), g.members...)
	for _, inner := range g.groups {
		all = append(all, inner.all()...)
	}
	return all
}

// child is a member of a group: one of the two is set.
type child struct {
	component *component
	group     *group
}

// affected returns the components that restart together when a child does,
// those of the child first.
func (g *group) affected(of child) []*component {
	self, others := of.all(), []*component(nil)
	past := false
	visit := func(is bool, components []*component) {
		if is {
			past = true
			return
		}
		if g.strategy == plan.OneForAll || g.strategy == plan.RestForOne && past {
			others = append(others, components...)
		}
	}
	for _, c := range g.members {
		visit(c == of.component, []*component{c})
	}
	for _, inner := range g.groups {
		visit(inner == of.group, inner.all())
	}
	return append(self, others...)
}

func (c child) all() []*component {
	if c.group != nil {
		return c.group.all()
	}
	return []*component{c.component}
}

// restart decides what follows when the child needs a restart: the set of
// components that restart together, or false when the application has
// failed. Why says in words what was decided on the way up.
func (g *group) restart(of child, now time.Time) (set []*component, why []string, ok bool) {
	if !g.exceeded(now) {
		return g.affected(of), nil, true
	}
	why = append(why, g.tooOften())
	g.restarts = nil
	if g.parent == nil {
		return nil, why, false
	}
	set, more, ok := g.parent.restart(child{group: g}, now)
	return set, append(why, more...), ok
}

func strategyName(s plan.Strategy) string {
	return [...]string{plan.OneForOne: "one-for-one", plan.OneForAll: "one-for-all", plan.RestForOne: "rest-for-one"}[s]
}
