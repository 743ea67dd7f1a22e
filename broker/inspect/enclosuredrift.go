package inspect

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bulkhead/broker/enclose"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/enclosure"
)

// root compares the monitor's root with the places of the host that its plan needs.
// An ordinary user's monitor has the host's. A place that is missing is no drift:
// what is not there reaches nothing, and the monitor has its root made anew when
// somebody asks for something there.
func (d *drifts) root(directory string, p *Process) {
	if len(p.Mounts) == 0 || p.Identity.UIDs[1] != 0 {
		return
	}
	places, err := enclose.Places(directory, d.application.group, d.application.plan)
	if err != nil {
		d.application.Problems = append(d.application.Problems, "what the monitor's root should have: "+err.Error())
		return
	}
	if places == nil {
		return // a grant on a file in /
	}
	for _, n := range p.Namespaces {
		if n.Kind == "mnt" && n.Host {
			d.add(p, "root file system", "places of the plan and nothing else", "the host's", plan.Position{})
			return
		}
	}
	// The first root has the program that the launcher executed, those after it do
	// not need it.
	program := strings.TrimSuffix(p.Executable, " (deleted)")
	points := map[string]*Mount{} // the one on top
	for k := range p.Mounts {
		points[p.Mounts[k].Point] = &p.Mounts[k]
	}
	names := []string{}
	for point := range points {
		names = append(names, point)
	}
	slices.Sort(names)
	for _, point := range names {
		m := points[point]
		if point == "/" {
			if m.Writes {
				d.add(p, "root file system", "read-only", "writable", plan.Position{})
			}
			if m.Type != "tmpfs" {
				d.add(p, "root file system", "one of its own in memory", m.words(), plan.Position{})
			}
			continue
		}
		// The nearest decides: /proc may be written, /proc/sys may not.
		var nearest *enclosure.Place
		for k := range places {
			if at := &places[k]; below(point, at.Path) && (nearest == nil || len(at.Path) > len(nearest.Path)) {
				nearest = at
			}
		}
		switch {
		case nearest == nil && point == program && !m.Writes:
		case nearest == nil:
			d.add(p, "mount "+point, "nothing there", m.words(), plan.Position{})
		case m.Writes && !nearest.Writable:
			d.add(p, "mount "+point, "read-only", "writable", d.positionOf(nearest.Path))
		}
	}
}

// positionOf is that of the first grant that something at or beneath a place is of.
func (d *drifts) positionOf(place string) plan.Position {
	for i := range d.application.plan.Grants {
		g := &d.application.plan.Grants[i]
		at := g.Path
		if at == "" && strings.HasPrefix(g.Address, "/") {
			at = g.Address
		}
		if at != "" && below(path.Clean(at), place) {
			return g.Position
		}
	}
	return plan.Position{}
}

// directoryOf is where an application that runs has its files.
func (i *Inspector) directoryOf(a *Application) string { return filepath.Join(i.base, a.Name) }
