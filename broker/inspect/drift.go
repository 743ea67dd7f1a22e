package inspect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/reach"
)

// Drift is a difference between what the plan asks for and what the kernel
// says.
type Drift struct {
	Component string `json:"component,omitempty"`
	PID       int    `json:"pid,omitempty"`
	Subject   string `json:"subject"`
	Planned   string `json:"planned"`
	Found     string `json:"found"`
	Position  string `json:"position,omitempty"` // of the policy
}

// drift compares all processes of a component with its plan.
func (i *Inspector) drift(a *Application, c *Component, depth Depth) []Drift {
	d := &drifts{inspector: i, application: a, component: c, plan: c.plan, depth: depth}
	if c.State == "running" && c.Running > 0 && len(c.Workers) == 0 {
		d.add(nil, "processes", "workers in cgroup "+a.groupOf(c), "none there", plan.Position{})
	}
	for p := range c.processes() {
		if p.Role == "starting" {
			continue // its walls are being built; it runs nothing of the component's yet
		}
		d.process(p)
		if !p.ofInit() {
			d.program(p)
			d.supervisorDrift(p)
		}
	}
	d.told()
	return d.found
}

type drifts struct {
	inspector   *Inspector
	application *Application
	component   *Component
	plan        *plan.Component
	depth       Depth
	found       []Drift
}

func (d *drifts) add(p *Process, subject, planned, found string, at plan.Position) {
	drift := Drift{Component: d.component.Name, Subject: subject, Planned: planned, Found: found}
	if p != nil {
		drift.PID = p.PID
	}
	if at.Line == 0 {
		at = d.plan.Position
	}
	if at.Line > 0 {
		drift.Position = fmt.Sprintf("%s:%d:%d", at.File, at.Line, at.Column)
	}
	d.found = append(d.found, drift)
}

// process compares what holds for every process in a compartment.
func (d *drifts) process(p *Process) {
	for _, n := range p.Namespaces {
		switch {
		case n.Kind == "time": // no wall of Bulkhead's
		case n.Kind == "net" && d.plan.HostNetwork:
			if !n.Host {
				d.add(p, "network namespace", "the host's", "another", plan.Position{})
			}
		case n.Host:
			d.add(p, n.Kind+" namespace", "of its own", "the host's", plan.Position{})
		}
	}
	if !p.NoNewPrivileges {
		d.add(p, "no-new-privileges", "set", "not set", plan.Position{})
	}
	if p.programs == 0 && d.datagrams() {
		d.add(p, "addresses", "limited by programs in the kernel", "no program is attached", plan.Position{})
	}
	d.maps(p)
}

// datagrams says whether where the component's datagrams go must be limited.
func (d *drifts) datagrams() bool {
	for k := range d.application.plan.Components {
		if &d.application.plan.Components[k] == d.plan {
			_, datagrams := reach.Limited(d.application.plan, k)
			return datagrams && !slices.Contains(d.plan.Optional, "addresses")
		}
	}
	return false
}

// maps compares the id maps of the user namespace: the compartment's own root,
// the worker and its groups, one id each (sandbox.Create).
func (d *drifts) maps(p *Process) {
	h, u := d.plan.Hosts, d.plan.User
	uids, gids := []IDRange{{0, h.Init, 1}}, []IDRange{{0, h.InitGroup, 1}}
	add := func(all *[]IDRange, inside, outside uint32) {
		if !slices.ContainsFunc(*all, func(r IDRange) bool { return r.Inside == inside }) {
			*all = append(*all, IDRange{inside, outside, 1})
		}
	}
	add(&uids, u.UID, h.UID)
	add(&gids, u.GID, h.GID)
	for _, other := range h.Become {
		add(&uids, other.UID, other.HostUID)
		add(&gids, other.GID, other.HostGID)
	}
	for k := range min(len(u.Groups), len(h.Groups)) {
		add(&gids, u.Groups[k], h.Groups[k])
	}
	d.rangesOf(p, "user ids", uids, p.Identity.UIDMap)
	d.rangesOf(p, "group ids", gids, p.Identity.GIDMap)
}

func (d *drifts) rangesOf(p *Process, what string, planned, found []IDRange) {
	if found == nil {
		return // unseen, which the process says
	}
	for _, r := range found {
		if !slices.Contains(planned, r) {
			d.add(p, "map of "+what, rangesText(planned), rangesText(found), plan.Position{})
			return
		}
	}
}

func rangesText(ranges []IDRange) string {
	var parts []string
	for _, r := range ranges {
		parts = append(parts, fmt.Sprintf("%d→%d×%d", r.Inside, r.Outside, r.Count))
	}
	return strings.Join(parts, " ")
}

// program compares what holds for the program and what it started.
func (d *drifts) program(p *Process) {
	d.identity(p)
	d.capabilities(p)
	d.filters(p)
	d.cgroup(p)
	if d.depth < Full {
		return
	}
	d.rlimits(p)
	d.mounts(p)
	for k := range p.Descriptors {
		if f := &p.Descriptors[k]; f.From == "" && !d.application.hidden(f) {
			d.add(p, fmt.Sprintf("descriptor %d", f.Number), "only what a grant explains", f.words(), plan.Position{})
		}
	}
}

func (d *drifts) identity(p *Process) {
	for _, uid := range p.Identity.UIDs {
		if !d.plan.Hosts.HasUser(uid) && !(d.plan.User.UID == 0 && uid == d.plan.Hosts.Init) {
			d.add(p, "user", fmt.Sprint(d.plan.Hosts.UID), fmt.Sprint(uid), plan.Position{})
			return
		}
	}
	for _, gid := range p.Identity.GIDs {
		if !d.plan.Hosts.HasGroup(gid) && !(d.plan.User.GID == 0 && gid == d.plan.Hosts.InitGroup) {
			d.add(p, "group", fmt.Sprint(d.plan.Hosts.GID), fmt.Sprint(gid), plan.Position{})
			return
		}
	}
}

func (d *drifts) capabilities(p *Process) {
	for _, set := range []struct {
		name string
		has  []string
	}{{"permitted", p.Capabilities.Permitted}, {"effective", p.Capabilities.Effective}, {"inheritable", p.Capabilities.Inheritable}, {"ambient", p.Capabilities.Ambient}} {
		for _, name := range set.has {
			if !slices.Contains(d.plan.Capabilities, name) {
				d.add(p, set.name+" capabilities", listWords(d.plan.Capabilities), listWords(set.has), plan.Position{})
				break
			}
		}
	}
}

func listWords(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// filters compares the filter that was loaded first: a program may add more,
// which can only take away.
func (d *drifts) filters(p *Process) {
	s := &p.Seccomp
	if s.Mode != "filter" || s.Loaded == 0 {
		d.add(p, "system call filter", "loaded", s.Mode, plan.Position{})
		return
	}
	if len(s.Filters) == 0 || len(d.plan.Syscalls.Program) == 0 {
		return
	}
	if first := s.Filters[len(s.Filters)-1]; !bytes.Equal(first.Program, d.plan.Syscalls.Program) {
		d.add(p, "system call filter", fmt.Sprintf("%d instructions, the plan's", len(d.plan.Syscalls.Program)/8),
			fmt.Sprintf("%d instructions, others", first.Instructions), plan.Position{})
	}
}

func (d *drifts) cgroup(p *Process) {
	if p.Cgroup == nil {
		return
	}
	optional := func(name string) bool {
		return slices.Contains(d.plan.Optional, name) || slices.Contains(d.plan.Optional, "cgroup")
	}
	if group := d.application.groupOf(d.component) + "/"; !strings.HasPrefix(p.Cgroup.Path, group) {
		d.add(p, "cgroup", "below "+group, p.Cgroup.Path, plan.Position{})
	}
	l := d.plan.Limits
	if l.Memory != 0 && p.Cgroup.Memory.Limit > Limit(l.Memory) && !optional("memory") {
		d.add(p, "memory limit", bytesWords(l.Memory), p.Cgroup.Memory.Limit.words(bytesWords), plan.Position{})
	}
	// The worker's own init is one task more than the policy counts.
	if l.Processes != 0 && p.Cgroup.Tasks.Limit > Limit(l.Processes)+1 && !optional("processes") {
		d.add(p, "process limit", fmt.Sprint(l.Processes), p.Cgroup.Tasks.Limit.words(decimal), plan.Position{})
	}
	if l.CPUQuota != 0 && p.Cgroup.Processor.Quota > Limit(l.CPUQuota) && !optional("cpu") {
		d.add(p, "cpu-quota", fmt.Sprintf("%d%%", l.CPUQuota), p.Cgroup.Processor.Quota.words(percent), plan.Position{})
	}
	if l.IOWeight != 0 && p.Cgroup.DiskWeight != uint64(l.IOWeight) && !optional("io") {
		d.add(p, "io-weight", fmt.Sprint(l.IOWeight), diskWeightWords(p.Cgroup.DiskWeight), plan.Position{})
	}
}

func (d *drifts) rlimits(p *Process) {
	l := d.plan.Limits
	for _, planned := range []struct {
		name  string // in /proc/PID/limits
		value Limit
		set   bool
	}{
		{"core file size", Limit(l.CoreSize), true},
		{"locked memory", Limit(l.Locked), true},
		{"msgqueue size", 0, true},
		{"open files", Limit(l.OpenFiles), l.OpenFiles != 0},
		{"file size", Limit(l.FileSize), l.FileSize != 0},
	} {
		for _, r := range p.Rlimits {
			if planned.set && r.Name == planned.name && (r.Soft > planned.value || r.Hard > planned.value) {
				d.add(p, "limit of "+r.Name, fmt.Sprint(planned.value), r.Hard.words(decimal), plan.Position{})
			}
		}
	}
}

// told compares the supervisor's workers with the kernel's processes.
func (d *drifts) told() {
	if d.depth < Full {
		return
	}
	for pid, w := range d.component.told {
		if d.component.has(pid) {
			continue
		}
		// One that ended since the supervisor was asked is no drift.
		if p, err := d.inspector.process(pid, Glance); err == nil {
			d.add(p, "cgroup", fmt.Sprintf("%s/w%d", d.application.groupOf(d.component), w.Worker), p.Cgroup.Path, plan.Position{})
		}
	}
}

// has says whether the kernel counts a process to the component.
func (c *Component) has(pid int) bool {
	for p := range c.processes() {
		if p.PID == pid {
			return true
		}
	}
	return false
}

// compareCompartments finds namespaces that two components share: a wall
// between them that is not there.
func compareCompartments(all []Application) {
	type owner struct {
		application *Application
		component   *Component
	}
	seen := map[Namespace]owner{}
	for a := range all {
		for c := range all[a].Components {
			component := &all[a].Components[c]
			p := component.program()
			if p == nil || component.Name == "monitor" {
				continue
			}
			for _, n := range p.Namespaces {
				if n.Host || n.Kind == "time" {
					continue // said already
				}
				first, shared := seen[n]
				if !shared {
					seen[n] = owner{&all[a], component}
					continue
				}
				component.Drift = append(component.Drift, Drift{
					Component: component.Name, PID: p.PID, Subject: n.Kind + " namespace", Planned: "of its own",
					Found: "shared with " + first.application.Name + "/" + first.component.Name,
				})
			}
		}
	}
}
