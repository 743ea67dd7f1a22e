package inspect

import (
	"slices"

	"bulkhead/broker/confine"
	"bulkhead/policy/plan"
)

// monitorDrift compares the monitor with the walls that it has round itself,
// which follow from the plan.
func (i *Inspector) monitorDrift(a *Application, c *Component) []Drift {
	p := c.program()
	if p == nil || a.plan == nil {
		return nil
	}
	d := &drifts{inspector: i, application: a, component: c, plan: &plan.Component{}}
	var needed []string
	if p.Identity.UIDs[1] == 0 {
		for _, capability := range confine.Capabilities(a.plan) {
			needed = append(needed, capability.Name)
		}
	}
	sets := []struct {
		name string
		has  []string
	}{{"permitted", p.Capabilities.Permitted}, {"effective", p.Capabilities.Effective}, {"inheritable", p.Capabilities.Inheritable},
		{"ambient", p.Capabilities.Ambient}, {"bounding", p.Capabilities.Bounding}}
	if p.Identity.UIDs[1] != 0 {
		sets = sets[:4] // the bounding set is not an ordinary user's to change
	}
	for _, set := range sets {
		if slices.ContainsFunc(set.has, func(name string) bool { return !slices.Contains(needed, name) }) {
			d.add(p, set.name+" capabilities", listWords(needed), listWords(set.has), plan.Position{})
		}
	}
	if !p.NoNewPrivileges {
		d.add(p, "no-new-privileges", "set", "not set", plan.Position{})
	}
	if p.Seccomp.Mode != "filter" || p.Seccomp.Loaded == 0 {
		d.add(p, "system call filter", "loaded", p.Seccomp.Mode, plan.Position{})
	}
	for _, r := range p.Rlimits {
		if r.Name == "core file size" && r.Hard > 0 {
			d.add(p, "limit of "+r.Name, "0", r.Hard.words(decimal), plan.Position{})
		}
	}
	if p.Dumpable == "yes" {
		d.add(p, "dumpable", "no", p.Dumpable, plan.Position{})
	}
	d.root(i.directoryOf(a), p)
	return d.found
}

// supervisorDrift is what the supervisor does to itself beyond its policy.
func (d *drifts) supervisorDrift(p *Process) {
	if d.component.Name == "supervisor" && p.Role == "program" && p.Dumpable == "yes" {
		d.add(p, "dumpable", "no", p.Dumpable, plan.Position{})
	}
}
