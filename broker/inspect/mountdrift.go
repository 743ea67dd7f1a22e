package inspect

import "bulkhead/policy/plan"

// mounts compares the file system with the plan's.
func (d *drifts) mounts(p *Process) {
	if len(p.Mounts) == 0 {
		return
	}
	points := map[string]*Mount{} // the one on top
	for k := range p.Mounts {
		points[p.Mounts[k].Point] = &p.Mounts[k]
	}
	for point, m := range points {
		switch {
		case point == "/":
			if m.Writes {
				d.add(p, "root file system", "read-only", "writable", plan.Position{})
			}
		case below(point, "/proc"):
			if d.plan.Proc == plan.ProcNone {
				d.add(p, "mount "+point, "no /proc at all", m.words(), plan.Position{})
			}
		default:
			d.mount(p, m)
		}
	}
	for k := range d.plan.Root {
		e := &d.plan.Root[k]
		switch e.Kind {
		case plan.EntryHidden, plan.EntryTemporary, plan.EntryDevice:
			if points[e.Target] == nil {
				d.add(p, "mount "+e.Target, entryWords(e), "nothing is mounted there", e.Position)
			}
		}
	}
}

func (d *drifts) mount(p *Process, m *Mount) {
	var entry *plan.Entry
	for k := range d.plan.Root {
		e := &d.plan.Root[k]
		// A directory brings the mounts beneath it along.
		if (e.Target == m.Point || e.Kind == plan.EntryBind && e.Dir && below(m.Point, e.Target)) &&
			(entry == nil || len(e.Target) > len(entry.Target)) {
			entry = e
		}
	}
	switch {
	case entry == nil:
		d.add(p, "mount "+m.Point, "nothing there", m.words(), plan.Position{})
	case entry.Kind == plan.EntryBind && entry.Access&(plan.Write|plan.Append) == 0 && m.Writes:
		d.add(p, "mount "+m.Point, "read-only", "writable", entry.Position)
	case m.Writes && m.Execute && entry.Kind != plan.EntryDevice:
		d.add(p, "mount "+m.Point, "not writable and executable at once", m.words(), entry.Position)
	case entry.Kind == plan.EntryHidden && entry.Dir && m.Type != "tmpfs":
		d.add(p, "mount "+m.Point, "hidden", m.words(), entry.Position)
	}
}

func entryWords(e *plan.Entry) string {
	switch e.Kind {
	case plan.EntryHidden:
		return "hidden"
	case plan.EntryTemporary:
		return "a file system of its own in memory"
	}
	return "the device " + e.Source
}
