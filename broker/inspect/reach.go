package inspect

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"

	"bulkhead/policy/plan"
)

// Radius is what a compromise of one component could reach: the plan's rights
// as an attacker would use them, and those of every component that it may
// start, since it chooses what those are given.
type Radius struct {
	Component string  `json:"component"`
	Reaches   []Reach `json:"reaches"`
	// Edges are the arrows of the graph over grants and may-start.
	Edges []Edge `json:"edges"`
}

// Reach is one thing within reach.
type Reach struct {
	Through  []string `json:"through,omitempty"` // components on the way
	Verb     string   `json:"verb"`              // read, write, execute, listen, connect, start, mislead, use, call, be
	Object   string   `json:"object"`
	Position string   `json:"position,omitempty"` // the policy line that allows it
}

// Edge is an arrow from a component to a component or to a grant.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	By   string `json:"by"` // may-start, grant NAME
}

// BlastRadius works out what a compromise of a component could reach.
func (r *Report) BlastRadius(component string) (*Radius, error) {
	for k := range r.Applications {
		a := &r.Applications[k]
		if a.plan == nil {
			return nil, errors.New("the blast radius is worked out from the plan, which this user may not read: " + strings.Join(a.Problems, "; "))
		}
		c := planComponent(a.plan, component)
		if c == nil {
			return nil, unknownComponent(a, component)
		}
		g := &radius{application: a, found: &Radius{Component: component, Reaches: []Reach{}, Edges: []Edge{}}, seen: map[string]bool{}}
		g.visit(c, nil)
		g.misled(c)
		return g.found, nil
	}
	return nil, errors.New("the blast radius is one of an application's component")
}

type radius struct {
	application *Application
	found       *Radius
	seen        map[string]bool
}

func (g *radius) add(through []string, verb, object string, at plan.Position) {
	r := Reach{Through: through, Verb: verb, Object: object}
	if at.Line > 0 {
		r.Position = fmt.Sprintf("%s:%d:%d", at.File, at.Line, at.Column)
	}
	g.found.Reaches = append(g.found.Reaches, r)
}

// visit adds what a component can do, and then what those can that it may
// start.
func (g *radius) visit(c *plan.Component, through []string) {
	g.seen[c.Name] = true
	g.files(c, through)
	for _, b := range c.Grants {
		grant := &g.application.plan.Grants[b.Grant]
		g.grant(c, grant, through)
		g.found.Edges = append(g.found.Edges, Edge{c.Name, "grant " + grant.Name, "grant " + grant.Name})
	}
	if c.HostNetwork {
		g.add(through, "connect", "to every address that this machine reaches, and listen on any port: it is in the host's network", c.Position)
	}
	if len(c.Capabilities) > 0 {
		g.add(through, "use", "in its own user namespace: "+strings.Join(c.Capabilities, ", "), c.Position)
	}
	g.bounds(c, through)
	for _, name := range c.MayStart {
		g.found.Edges = append(g.found.Edges, Edge{c.Name, name, "may-start"})
		next := planComponent(g.application.plan, name)
		if next == nil || g.seen[name] {
			continue
		}
		text := name + ", with input of its choice"
		if next.Workers.Maximum > 0 {
			text += fmt.Sprintf(", %d at once", next.Workers.Maximum)
		}
		g.add(through, "start", text, c.Position)
		g.visit(next, append(slices.Clone(through), name))
	}
}

// files are the paths of the host that exist for it. What belongs to the
// program is counted, the rest is named.
func (g *radius) files(c *plan.Component, through []string) {
	closure := 0
	for k := range c.Root {
		e := &c.Root[k]
		if e.Kind != plan.EntryBind {
			continue
		}
		switch {
		case e.Access&(plan.Write|plan.Append) != 0:
			g.add(through, "write", e.Source+within(e), e.Position)
		case strings.HasPrefix(e.Reason, "needed by") || e.Source == c.Program:
			closure++
		case e.Access&plan.Execute != 0:
			g.add(through, "execute", e.Source+within(e), e.Position)
		default:
			g.add(through, "read", e.Source+within(e), e.Position)
		}
	}
	if closure > 0 {
		g.add(through, "read", fmt.Sprintf("%d files of the program and its libraries", closure), plan.Position{})
	}
}

func within(e *plan.Entry) string {
	if e.Dir {
		return " and what is in it"
	}
	return ""
}

func (g *radius) grant(c *plan.Component, grant *plan.Grant, through []string) {
	verb := "read"
	object := grant.Path
	switch {
	case grant.Kind == plan.GrantListen:
		verb, object = "listen", "on "+grant.Socket()+" and answer its clients"
	case grant.Kind == plan.GrantConnect:
		verb, object = "connect", "to "+grant.Socket()
	case grant.Kind == plan.GrantChannel:
		verb, object = "mislead", grant.Peer+", over the channel "+grant.Name
	case grant.Access&plan.Write != 0:
		verb = "write"
	case grant.Access&plan.Append != 0:
		verb, object = "append", "to "+grant.Path
	}
	if grant.Kind == plan.GrantDirectory {
		object = "the files in " + grant.Path
	}
	object += " (grant " + grant.Name + ")"
	if shared := g.sharers(c, grant); len(shared) > 0 {
		object += ", which " + strings.Join(shared, " and ") + " use too"
	}
	g.add(through, verb, object, grant.Position)
}

// sharers are other components with the same grant.
func (g *radius) sharers(c *plan.Component, grant *plan.Grant) []string {
	var names []string
	for k := range g.application.plan.Components {
		other := &g.application.plan.Components[k]
		if other.Name != c.Name && slices.ContainsFunc(other.Grants, func(b plan.Binding) bool {
			return &g.application.plan.Grants[b.Grant] == grant
		}) {
			names = append(names, other.Name)
		}
	}
	return names
}

// bounds are what it can use up, and what of the kernel it can attack.
func (g *radius) bounds(c *plan.Component, through []string) {
	l := c.Limits
	use := []string{"all memory"}
	if l.Memory != 0 {
		use[0] = bytesWords(l.Memory) + " of memory"
	}
	if l.Processes != 0 {
		use = append(use, fmt.Sprintf("%d processes", l.Processes))
	} else {
		use = append(use, "any number of processes")
	}
	switch {
	case l.CPUQuota != 0:
		use = append(use, fmt.Sprintf("%d%% of a processor", l.CPUQuota))
	case l.CPUTime != 0:
		use = append(use, l.CPUTime.String()+" of a processor")
	default:
		use = append(use, "what processors are free")
	}
	g.add(through, "use", strings.Join(use, ", ")+", for each worker", c.Position)
	if len(c.Syscalls.Program) > 0 {
		calls := describeCalls([]program{decodeProgram(c.Syscalls.Program)})
		g.add(through, "call", fmt.Sprintf("%d of the kernel's %d system calls", calls.Allowed, calls.Known), c.Position)
	}
	who := fmt.Sprintf("user %d of the host, who owns nothing there", c.Hosts.UID)
	if known, err := user.LookupId(fmt.Sprint(c.Hosts.UID)); err == nil {
		who = fmt.Sprintf("user %s (%d) of the host, with what belongs to it of the above", known.Username, c.Hosts.UID)
	}
	if c.Hosts.Shared != "" {
		who += ", and who starts the application: " + c.Hosts.Shared
	}
	g.add(through, "be", who, c.Position)
}

// misled are those that use what the component answers.
func (g *radius) misled(c *plan.Component) {
	for k := range g.application.plan.Components {
		other := &g.application.plan.Components[k]
		if slices.Contains(other.MayStart, c.Name) {
			g.found.Edges = append(g.found.Edges, Edge{other.Name, c.Name, "may-start"})
			g.add(nil, "mislead", other.Name+", which starts it and reads what it answers", other.Position)
		}
	}
}

// RadiusText says it in words.
func RadiusText(r *Radius, paint Paint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Whoever takes over %s could\n", paint.Title(r.Component))
	through := ""
	t := NewTable("  ")
	for _, reach := range r.Reaches {
		if way := strings.Join(reach.Through, " and "); way != through {
			b.WriteString(t.String())
			t = NewTable("  ")
			through = way
			if way == "" {
				fmt.Fprintf(&b, "and beside that\n")
			} else {
				fmt.Fprintf(&b, "and through %s\n", paint.Title(way))
			}
		}
		t.Row(reachColour(reach.Verb, paint), Printable(reach.Object), paint.Quiet(reach.Position))
	}
	b.WriteString(t.String())
	b.WriteString("and nothing else, unless the kernel or Bulkhead itself has a hole.\n")
	return b.String()
}

func reachColour(verb string, paint Paint) string {
	switch verb {
	case "write", "connect", "execute", "mislead":
		return paint.Bad(verb)
	case "listen", "append", "start":
		return paint.Maybe(verb)
	}
	return verb
}
