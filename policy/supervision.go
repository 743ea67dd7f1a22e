package policy

import (
	"time"

	"bulkhead/policy/plan"
)

// supervision compiles the tree. Components that no group names are members of
// the root.
func (c *compiler) supervision() plan.Group {
	named := map[string]plan.Position{}
	var rest []string
	root := c.group(&c.file.Supervision, "", named, plan.Group{Strategy: plan.OneForOne, Restarts: defaultRestarts, Within: defaultWithin})
	for _, entry := range c.file.Components.Entries {
		if _, inGroup := named[entry.Name]; !inGroup && keptUp(startOf(&entry.Value)) {
			rest = append(rest, entry.Name)
		}
	}
	root.Members = append(root.Members, c.inOrder(rest)...)
	return root
}

// group compiles one group; what it leaves out is as in the group above.
func (c *compiler) group(s *SupervisionSetting, name string, named map[string]plan.Position, above plan.Group) plan.Group {
	result := plan.Group{Name: name, Strategy: above.Strategy, Restarts: s.Restarts.Or(above.Restarts), Within: s.Within.Or(above.Within)}
	if s.Strategy.IsSet() {
		result.Strategy = map[string]plan.Strategy{"one-for-one": plan.OneForOne, "one-for-all": plan.OneForAll, "rest-for-one": plan.RestForOne}[s.Strategy.Value]
	}
	if s.Within.IsSet() && s.Within.Value < time.Second {
		c.mistake(s.Within.Position, "write 1s or more", "restarts cannot be counted within less than a second")
	}
	for _, member := range s.Members {
		other, known := c.file.Components.Find(member.Value)
		before, twice := named[member.Value]
		switch {
		case !known:
			c.mistake(member.Position, suggestion(member.Value, c.file.Components.Names()), "no component is named %q", member.Value)
			continue
		case twice:
			c.mistake(member.Position, "", "%q is in a group already, in line %d", member.Value, before.Line)
			continue
		case !keptUp(startOf(other)):
			c.mistake(member.Position, "remove it", "%q does not start with the application, so nobody restarts it", member.Value)
			continue
		}
		named[member.Value] = member.Position
		result.Members = append(result.Members, member.Value)
	}
	for i := range s.Groups.Entries {
		entry := &s.Groups.Entries[i]
		result.Groups = append(result.Groups, c.group(&entry.Value, entry.Name, named, result))
	}
	return result
}

// inOrder sorts components so that each comes after those it waits for, and
// else as in the file.
func (c *compiler) inOrder(names []string) []string {
	var ordered []string
	state := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		component, known := c.file.Components.Find(name)
		if !known || state[name] {
			return
		}
		state[name] = true
		for _, before := range component.After {
			visit(before.Name.Value)
		}
		for _, wanted := range names {
			if wanted == name {
				ordered = append(ordered, name)
			}
		}
	}
	for _, name := range names {
		visit(name)
	}
	return ordered
}
