package inspect

import (
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// explainer knows what an application's descriptors can come from.
type explainer struct {
	inspector *Inspector
	app       *Application
	monitor   map[object]bool // what the monitor has open
	standard  map[object]bool // its standard input, output and error
	holders   map[object][]*Component
}

// hidden says whether nothing can be said of where a descriptor comes from: an ordinary user may not look
// at the monitor, to whom the pipes and sockets of workers lead. That it was not seen is said once.
func (a *Application) hidden(d *Descriptor) bool {
	return a.monitorUnseen && (d.Kind == "pipe" || d.Kind == "socket")
}

// object is what a descriptor refers to.
type object struct{ device, inode uint64 }

func (d *Descriptor) object() object { return object{d.device, d.inode} }

func (i *Inspector) newExplainer(a *Application) *explainer {
	e := &explainer{inspector: i, app: a, monitor: map[object]bool{}, standard: map[object]bool{}, holders: map[object][]*Component{}}
	for k := range a.Components {
		c := &a.Components[k]
		for d := range c.descriptors() {
			if c.Name == "monitor" {
				e.monitor[d.object()] = true
				if d.Number < 3 {
					e.standard[d.object()] = true
				}
			} else if !slices.Contains(e.holders[d.object()], c) {
				e.holders[d.object()] = append(e.holders[d.object()], c)
			}
		}
	}
	return e
}

// descriptors are those of all processes of a component but its inits.
func (c *Component) descriptors() iter.Seq[*Descriptor] {
	return func(yield func(*Descriptor) bool) {
		for p := range c.processes() {
			if p.ofInit() {
				continue
			}
			for n := range p.Descriptors {
				if !yield(&p.Descriptors[n]) {
					return
				}
			}
		}
	}
}

// processes are all processes of a component, its inits among them.
func (c *Component) processes() iter.Seq[*Process] {
	return func(yield func(*Process) bool) {
		for w := range c.Workers {
			for k := range c.Workers[w].Processes {
				if !yield(&c.Workers[w].Processes[k]) {
					return
				}
			}
		}
		if c.Init != nil {
			yield(c.Init)
		}
	}
}

// ofInit says whether the process runs Bulkhead's init.
func (p *Process) ofInit() bool {
	return p.Role == "worker-init" || p.Role == "compartment-init" || p.Role == "starting"
}

// explain says of each descriptor of a component where it comes from, and
// counts the open ones of each grant. Without the plan there is nothing to
// explain with.
func (e *explainer) explain(c *Component) {
	if c.plan == nil {
		return
	}
	for p := range c.processes() {
		for n := range p.Descriptors {
			d := &p.Descriptors[n]
			if p.ofInit() {
				d.From = "Bulkhead's own"
				continue
			}
			d.From = e.origin(c, p, d)
			if name, ok := strings.CutPrefix(d.From, "grant "); ok {
				name, _, _ = strings.Cut(name, ":")
				c.opened(name)
			}
		}
	}
}

// opened counts an open descriptor of a grant.
func (c *Component) opened(grant string) {
	for k := range c.Grants {
		if c.Grants[k].Name == grant {
			c.Grants[k].Open++
		}
	}
}

// origin is "" for a descriptor that nothing explains.
func (e *explainer) origin(c *Component, p *Process, d *Descriptor) string {
	if c.Name == "supervisor" {
		if e.monitor[d.object()] {
			return "Bulkhead's own: from the monitor"
		}
		if from := e.logOrigin(d); from != "" {
			return from
		}
	}
	if d.Number < 3 && c.plan.Output == plan.OutputInherit && e.standard[d.object()] {
		return "output: inherit"
	}
	var from string
	switch d.Kind {
	case "socket":
		from = e.socketOrigin(c, p, d)
	case "pipe":
		from = e.pipeOrigin(c, d)
	case "anonymous":
		from = e.anonymousOrigin(c, d)
	default:
		from = e.fileOrigin(c, d)
	}
	if from == "" {
		from = e.passed(c, d)
	}
	return from
}

// logOrigin explains the logs that the monitor opens for the supervisor.
func (e *explainer) logOrigin(d *Descriptor) string {
	for k := range e.app.plan.Logs {
		l := &e.app.plan.Logs[k]
		switch {
		case l.Kind == plan.LogFile && d.Kind == "file" && d.Append && d.Access == "write" && (d.Object == l.Name || e.same(d, l.Name)),
			l.Kind == plan.LogJournald && d.Socket != nil && d.Socket.Type == "datagram" && d.Socket.peer.path == plan.JournaldSocket:
			return "the application's logs"
		}
	}
	return ""
}

// passed explains a descriptor by the components that may start this one and
// give it some. Directories are never passed: they would be a ladder.
func (e *explainer) passed(c *Component, d *Descriptor) string {
	if d.Kind == "directory" || d.Access == "path" {
		return ""
	}
	for k := range e.app.Components {
		giver := &e.app.Components[k]
		if giver.plan != nil && slices.Contains(giver.plan.MayStart, c.Name) {
			return "passed by " + giver.Name + " (may-start)"
		}
	}
	return ""
}

// harmless are the anonymous things that a process makes itself and that
// lead nowhere else.
var harmless = []string{
	"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:[signalfd]",
	"anon_inode:inotify", "anon_inode:[pidfd]", "/memfd:",
}

func (e *explainer) anonymousOrigin(c *Component, d *Descriptor) string {
	// All of the others are one inode for the whole machine.
	if strings.HasPrefix(d.Object, "/memfd:") {
		if from, shared := e.sharedOrigin(c, d); shared {
			return from
		}
	}
	for _, prefix := range harmless {
		if strings.HasPrefix(d.Object, prefix) {
			return "made by itself"
		}
	}
	// Since Linux 6.9 pidfds are files of a file system of their own.
	if strings.HasPrefix(d.Object, "pidfd:") {
		return "made by itself"
	}
	return ""
}

func (e *explainer) fileOrigin(c *Component, d *Descriptor) string {
	if !d.Outside {
		return rootOrigin(c.plan, d)
	}
	if d.Kind == "device" && d.Object == "/dev/null" {
		return "the monitor's /dev/null"
	}
	if d.Kind == "directory" || d.Access == "path" {
		return ""
	}
	for _, b := range c.plan.Grants {
		g := &e.app.plan.Grants[b.Grant]
		if !permits(g.Access, d) {
			continue
		}
		switch g.Kind {
		case plan.GrantFile, plan.GrantDevice:
			if d.Object == g.Path || e.same(d, g.Path) {
				return "grant " + g.Name
			}
		case plan.GrantDirectory:
			if below(d.Object, e.real(g.Path)) {
				return "grant " + g.Name + ": " + d.Object
			}
		}
	}
	return ""
}

// real resolves a granted path as the monitor did.
func (e *explainer) real(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}

// same says whether a path leads to what the descriptor refers to.
func (e *explainer) same(d *Descriptor, path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && object{st.Dev, st.Ino} == d.object()
}

// permits says whether an access covers what a descriptor can do.
func permits(a plan.Access, d *Descriptor) bool {
	if d.writes() && a&plan.Write == 0 && !(a&plan.Append != 0 && d.Append) {
		return false
	}
	return d.Access == "write" || d.Access == "path" || a&plan.Read != 0
}

// rootOrigin explains what a worker opened itself in its own root: the kernel
// lets it open nothing else there, and the plan says what that is.
func rootOrigin(c *plan.Component, d *Descriptor) string {
	if below(d.Object, "/proc") {
		return "its own /proc"
	}
	var best *plan.Entry
	for k := range c.Root {
		entry := &c.Root[k]
		if below(d.Object, entry.Target) && (best == nil || len(entry.Target) > len(best.Target)) {
			best = entry
		}
	}
	switch {
	case best == nil && (d.Kind == "directory" || d.Access == "path"):
		return "its own root"
	case best == nil:
		return ""
	case best.Kind == plan.EntryTemporary:
		return "its own root: files.temporary"
	case d.writes() && best.Access&(plan.Write|plan.Append) == 0:
		return ""
	}
	return "its own root: " + best.Reason
}

// below says whether path is at or beneath directory.
func below(path, directory string) bool {
	return path == directory || directory == "/" || strings.HasPrefix(path, directory+"/")
}

func (e *explainer) pipeOrigin(c *Component, d *Descriptor) string {
	if e.monitor[d.object()] {
		return "output: log"
	}
	if strings.HasPrefix(d.Object, "/") { // a FIFO
		return e.fifoOrigin(c, d)
	}
	if from, shared := e.sharedOrigin(c, d); shared {
		return from
	}
	if passer := e.passed(c, d); passer != "" {
		return "made by itself, or " + passer
	}
	if e.inspector.outsideHolder(e.app, d.Object) != 0 {
		return ""
	}
	return "made by itself"
}

// sharedOrigin explains what other components have open too: this one made it
// and gave it to one that it may start. Whether it is the one that got it is
// left to passed.
func (e *explainer) sharedOrigin(c *Component, d *Descriptor) (from string, shared bool) {
	for _, holder := range e.holders[d.object()] {
		if holder == c {
			continue
		}
		if slices.Contains(c.plan.MayStart, holder.Name) {
			return "made by itself, given to " + holder.Name + " (may-start)", true
		}
		shared = true
	}
	return "", shared
}

func (e *explainer) fifoOrigin(c *Component, d *Descriptor) string {
	for _, b := range c.plan.Grants {
		if g := &e.app.plan.Grants[b.Grant]; g.Kind == plan.GrantFile && e.same(d, g.Path) {
			return "grant " + g.Name
		}
	}
	return ""
}

// outsideHolder is a process outside the application's cgroups that holds the
// same pipe, 0 for none: what a worker made itself, nobody else has.
func (i *Inspector) outsideHolder(a *Application, pipe string) int {
	for _, pid := range i.pipeHolders()[pipe] {
		b, err := readFile(procPath(pid, "cgroup"))
		if err == nil && !strings.Contains(string(b), "/sandbox/"+a.Name+"/") {
			return pid
		}
	}
	return 0
}

func (e *explainer) socketOrigin(c *Component, p *Process, d *Descriptor) string {
	s := d.Socket
	if s == nil {
		return "" // not seen, so not explained
	}
	if !s.Host {
		if s.Namespace == p.spaces["net"] {
			return "made by itself, in its own network"
		}
		return ""
	}
	for _, b := range c.plan.Grants {
		if g := &e.app.plan.Grants[b.Grant]; grantExplains(g, s) {
			return "grant " + g.Name + socketRole(g, s)
		}
	}
	if s.Family == "unix" && s.PeerPID == e.app.broker {
		return "Bulkhead's own: to the monitor"
	}
	if c.Name == "supervisor" && below(s.local.path, filepath.Join(e.inspector.base, e.app.Name)) {
		return "Bulkhead's own: a client of the control socket"
	}
	if c.plan.Transparent && unbound(s) {
		return "transparent: not connected yet"
	}
	if c.plan.HostNetwork && s.Family != "unix" {
		return "network: host"
	}
	return ""
}

func socketRole(g *plan.Grant, s *Socket) string {
	if g.Kind == plan.GrantListen && !s.Listening && s.Type == "stream" {
		return ": accepted from " + s.Peer
	}
	return ""
}

// unbound says that a socket has no peer and no port.
func unbound(s *Socket) bool {
	return s.peer == (endpoint{}) && !s.Listening && s.local.path == "" && s.local.address.Port() == 0
}
