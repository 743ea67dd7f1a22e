package learn

import (
	"io/fs"
	"path"
	"strings"

	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// view is what a component of a plan sees of the host's files.
type view struct {
	host    policy.Host
	entries map[string]*plan.Entry
}

func newView(host policy.Host, c *plan.Component) *view {
	v := &view{host: host, entries: map[string]*plan.Entry{}}
	for i := range c.Root {
		v.entries[c.Root[i].Target] = &c.Root[i]
	}
	return v
}

// place is where a path leads.
type place struct {
	links []string // the symbolic links on the way, by their paths
	real  string
	info  fs.FileInfo
	err   error
}

// resolve follows a path as the kernel does.
func resolve(host policy.Host, name string) (p place) {
	const mostLinks = 40 // path_resolution(7)
	rest := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	at := "/"
	p.info, p.err = host.Lstat(at)
	for len(rest) > 0 && p.err == nil {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			p.info, p.err = host.Lstat(at)
			continue
		}
		next := path.Join(at, part)
		if p.info, p.err = host.Lstat(next); p.err != nil {
			break
		}
		if p.info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		text, err := host.Readlink(next)
		if p.links = append(p.links, next); err != nil || len(p.links) > mostLinks {
			p.err = fs.ErrInvalid
			break
		}
		if path.IsAbs(text) {
			at = "/"
		}
		p.info, p.err = host.Lstat(at)
		rest = append(strings.Split(text, "/"), rest...)
	}
	p.real = at
	return p
}

// shows says whether the component can use a path of the host in a way.
func (v *view) shows(name string, access plan.Access) bool {
	found := resolve(v.host, name)
	if found.err != nil {
		return false
	}
	for _, link := range found.links {
		if e := v.entries[link]; e != nil && e.Kind == plan.EntrySymlink {
			continue
		}
		if e := v.above(path.Dir(link)); e == nil || e.Kind != plan.EntryBind {
			return false
		}
	}
	e := v.above(found.real)
	if e == nil {
		return false
	}
	switch e.Kind {
	case plan.EntryBind, plan.EntryDevice:
		return e.Access&access == access
	case plan.EntryData:
		return access == plan.Read
	case plan.EntryTemporary:
		return e.Target == found.real
	case plan.EntryHidden:
		return true // the policy wants it to be missing
	}
	return e.Target == found.real && access == plan.Read
}

// makes says whether the component can make and remove files in a directory.
func (v *view) makes(directory string) bool {
	found := resolve(v.host, directory)
	if found.err != nil {
		return false
	}
	e := v.above(found.real)
	return e != nil && (e.Kind == plan.EntryTemporary || e.Kind == plan.EntryBind && e.Access&plan.Write != 0)
}

// exists says whether there is anything at a path: a directory is there also
// because of what is shown below it.
func (v *view) exists(name string) bool {
	if v.shows(name, plan.Read) {
		return true
	}
	found := resolve(v.host, name)
	for target := range v.entries {
		if found.err == nil && within(target, found.real) {
			return true
		}
	}
	return false
}

// above is the entry at a path, or the nearest directory that shows it.
func (v *view) above(name string) *plan.Entry {
	if e := v.entries[name]; e != nil {
		return e
	}
	for name != "/" {
		name = path.Dir(name)
		if e := v.entries[name]; e != nil && e.Dir {
			return e
		}
	}
	return nil
}

// within says whether name is directory or below it.
func within(name, directory string) bool {
	return name == directory || strings.HasPrefix(name, strings.TrimSuffix(directory, "/")+"/")
}
