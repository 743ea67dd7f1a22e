package launch

import (
	"fmt"
	"slices"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// controlled are the limits that take a controller of cgroups, by the wall that
// a policy may call optional.
var controlled = []struct {
	wall, controller, keys string
	set                    func(*plan.Limits) bool
	drop                   func(*plan.Limits)
}{
	{"memory", "memory", "memory, swap", func(l *plan.Limits) bool { return l.Memory != 0 }, func(l *plan.Limits) { l.Memory, l.Swap = 0, 0 }},
	{"processes", "pids", "processes", func(l *plan.Limits) bool { return l.Processes != 0 }, func(l *plan.Limits) { l.Processes = 0 }},
	{"cpu", "cpu", "cpu-share, cpu-quota", func(l *plan.Limits) bool { return l.CPUShare != 0 || l.CPUQuota != 0 }, func(l *plan.Limits) { l.CPUShare, l.CPUQuota = 0, 0 }},
	{"io", "io", "io-weight", func(l *plan.Limits) bool { return l.IOWeight != 0 }, func(l *plan.Limits) { l.IOWeight = 0 }},
}

// withoutControllers is an error for a component with a limit whose controller
// the application's group cannot have, because it was not delegated, or this
// kernel was told to do without. Where the policy calls the wall optional, the
// limit is taken out of the plan; of Bulkhead's own components, too.
func withoutControllers(h cgroup.Hierarchy, group string, p *plan.Plan, own Own) error {
	missing, err := h.Missing(group)
	if err != nil || len(missing) == 0 {
		return err
	}
	for i := range p.Components {
		c := &p.Components[i]
		for _, l := range controlled {
			if !slices.Contains(missing, l.controller) || !l.set(&c.Limits) {
				continue
			}
			if i != own.Supervisor && i != own.Resolver && !slices.Contains(c.Optional, l.wall) && !slices.Contains(c.Optional, "cgroup") {
				at := c.Position
				return fmt.Errorf("%s:%d:%d: component %q: its limits (%s) take the controller %s, which the cgroups of %s cannot have; have it delegated (Delegate=yes), or write optional: [%s]",
					at.File, at.Line, at.Column, c.Name, l.keys, l.controller, h.Unified+cgroup.BaseOfApplication(group), l.wall)
			}
			l.drop(&c.Limits)
		}
	}
	return nil
}
