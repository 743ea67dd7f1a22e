package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Details writes everything about an application, or about one component of
// it; component "" is all.
func Details(r *Report, component string, paint Paint) string {
	var b strings.Builder
	for k := range r.Applications {
		a := &r.Applications[k]
		fmt.Fprintf(&b, "%s  %s, up %s, policy %s\n", paint.Title("application "+a.Name), a.State, Span(r.Time.Sub(a.Started)), a.Policy)
		for _, problem := range a.Problems {
			fmt.Fprintf(&b, "  %s\n", paint.Bad("not seen: "+problem))
		}
		for c := range a.Components {
			if component == "" || a.Components[c].Name == component {
				componentDetails(&b, r, &a.Components[c], component != "", paint)
			}
		}
	}
	return b.String()
}

// ProcessDetails writes the audit of one process.
func ProcessDetails(r *Report, paint Paint) string {
	var b strings.Builder
	p := r.Process
	fmt.Fprintf(&b, "%s  %s, up %s\n", paint.Title(fmt.Sprintf("process %d", p.PID)), Printable(p.Executable), Span(r.Time.Sub(p.Started)))
	if p.Of != "" {
		fmt.Fprintf(&b, "  of Bulkhead: %s, %s\n", p.Of, p.Role)
	}
	wallDetails(&b, p.Walls, paint)
	processDetails(&b, p, paint)
	exposureDetails(&b, p.Exposure, paint)
	return b.String()
}

func section(b *strings.Builder, title string, paint Paint) {
	fmt.Fprintf(b, "  %s\n", paint.Title(title))
}

func componentDetails(b *strings.Builder, r *Report, c *Component, everything bool, paint Paint) {
	fmt.Fprintf(b, "\n%s  %s", paint.Title("component "+c.Name), stateWords(c.State, paint))
	if !c.Since.IsZero() {
		fmt.Fprintf(b, " for %s", Span(r.Time.Sub(c.Since)))
	}
	fmt.Fprintf(b, ", %s, %s, %s of memory\n", counted(c.Restarts, "restart"), counted(c.Running, "worker"), bytesWords(c.Memory))
	fmt.Fprintf(b, "  runs %s, %s\n", Printable(c.Program), c.Start)
	wallDetails(b, c.Walls, paint)
	grantDetails(b, c, paint)
	denialDetails(b, c, paint)
	for w := range c.Workers {
		worker := &c.Workers[w]
		for k := range worker.Processes {
			p := &worker.Processes[k]
			switch {
			case p.ofInit(): // Bulkhead's own; the JSON has it
			case everything:
				section(b, fmt.Sprintf("worker %s, process %d (%s): %s", worker.Name, p.PID, p.Role, Printable(p.Executable)), paint)
				processDetails(b, p, paint)
			default:
				fmt.Fprintf(b, "    worker %-6s process %-8d %s, %s, %s\n", worker.Name, p.PID, Printable(p.Executable), bytesWords(p.Resident), counted(len(p.Descriptors), "descriptor"))
			}
		}
	}
	exposureDetails(b, c.Exposure, paint)
	driftDetails(b, c.Drift, paint)
}

func wallDetails(b *strings.Builder, walls []Wall, paint Paint) {
	if len(walls) == 0 {
		return
	}
	section(b, "walls, as the kernel has them", paint)
	t := NewTable("    ")
	for _, w := range walls {
		mark := paint.Good("up")
		if !w.Up {
			mark = paint.Bad("none")
		}
		t.Row(w.Name, mark, w.Detail)
	}
	b.WriteString(t.String())
}

func grantDetails(b *strings.Builder, c *Component, paint Paint) {
	if len(c.Grants) == 0 {
		return
	}
	section(b, "grants", paint)
	t := NewTable("    ")
	for _, g := range c.Grants {
		last := ""
		if g.Last != "" {
			last = "last " + Printable(g.Last)
		}
		t.Row(g.Name, g.Right, fmt.Sprintf("%d open, %d handed out", g.Open, g.Count), last)
	}
	b.WriteString(t.String())
}

func denialDetails(b *strings.Builder, c *Component, paint Paint) {
	if len(c.Denials) == 0 {
		return
	}
	section(b, "denials", paint)
	for _, d := range c.Denials {
		fmt.Fprintf(b, "    %d× %s: %s\n      to allow it: %s\n", d.Count, Printable(d.Tried), d.Answer, Printable(d.Allow))
	}
}

func driftDetails(b *strings.Builder, drift []Drift, paint Paint) {
	if len(drift) == 0 {
		return
	}
	section(b, paint.Bad("drift: the kernel has something else than the plan"), paint)
	for k := range drift {
		fmt.Fprintf(b, "    %s\n", paint.Bad(drift[k].String()))
	}
}

// String says a drift in one line.
func (d *Drift) String() string {
	text := fmt.Sprintf("%s: planned %s, found %s", d.Subject, d.Planned, d.Found)
	if d.PID != 0 {
		text = fmt.Sprintf("process %d: %s", d.PID, text)
	}
	if d.Position != "" {
		text += " (" + d.Position + ")"
	}
	return text
}

func exposureDetails(b *strings.Builder, e *Exposure, paint Paint) {
	if e == nil {
		return
	}
	basis := map[string]string{"kernel": "calls as the kernel's filter allows them", "plan": "calls as the plan's filter allows them", "none": "no filter was read"}[e.Basis]
	fmt.Fprintf(b, "  %s %s  %s\n", paint.Title("exposure"), e.words(paint), paint.Quiet("("+basis+")"))
	t := NewTable("    ")
	for _, reason := range e.Reasons {
		if reason.Adds < 0.005 {
			continue
		}
		t.Row(fmt.Sprintf("+%.2f", reason.Adds), reason.Subject, Printable(reason.Found), paint.Quiet(reason.Advice))
	}
	b.WriteString(t.String())
}

func processDetails(b *strings.Builder, p *Process, paint Paint) {
	t := NewTable("    ")
	t.Row("ids", fmt.Sprintf("user %s, group %s, groups %v", ids(p.Identity.UIDs), ids(p.Identity.GIDs), p.Identity.Groups))
	t.Row("id maps", "users "+rangesText(p.Identity.UIDMap)+"; groups "+rangesText(p.Identity.GIDMap))
	for _, set := range p.Capabilities.sets() {
		t.Row("capabilities", set.Name+": "+capabilitiesText(set.Has))
	}
	t.Row("Landlock", p.Landlock)
	t.Row("label", orNone(Printable(p.Label)))
	t.Row("dumpable", p.Dumpable)
	t.Row("environment", orNone(Printable(strings.Join(p.Environment, " "))))
	t.Row("writable", orNone(Printable(strings.Join(p.Writable, " "))))
	t.Row("writable and executable", orNone(Printable(strings.Join(p.Both, " ")))+"; "+counted(p.Mappings, "mapping")+" of memory")
	if c := p.Cgroup; c != nil {
		t.Row("cgroup", fmt.Sprintf("v%d %s", c.Version, c.Path))
		t.Row("", fmt.Sprintf("memory %s of %s, tasks %d of %s, processor %s, weight %d, disk weight %s",
			bytesWords(c.Memory.Use), c.Memory.Limit.words(bytesWords), c.Tasks.Use, c.Tasks.Limit.words(decimal),
			c.Processor.Quota.words(percent), c.Processor.Weight, diskWeightWords(c.DiskWeight)))
	}
	b.WriteString(t.String())
	rlimitDetails(b, p)
	mountDetails(b, p)
	section(b, fmt.Sprintf("descriptors (%d)", len(p.Descriptors)), paint)
	d := NewTable("    ")
	for k := range p.Descriptors {
		f := &p.Descriptors[k]
		from := f.From
		if from == "" && p.Role != "" && p.Role != "monitor" {
			from = paint.Bad("nothing explains it")
		}
		d.Row(fmt.Sprint(f.Number), f.words(), from)
	}
	b.WriteString(d.String())
	callDetails(b, &p.Seccomp, paint)
	for _, unseen := range p.Unseen {
		fmt.Fprintf(b, "    %s\n", paint.Maybe("not seen: "+unseen))
	}
}

func rlimitDetails(b *strings.Builder, p *Process) {
	var parts []string
	for _, r := range p.Rlimits {
		if r.Soft == Unlimited && r.Hard == Unlimited {
			continue
		}
		text := r.Name + " " + r.Soft.words(decimal)
		if r.Hard != r.Soft {
			text += "/" + r.Hard.words(decimal)
		}
		parts = append(parts, text)
	}
	if len(parts) > 0 {
		fmt.Fprintf(b, "    limits: %s\n", strings.Join(parts, ", "))
	}
}

func mountDetails(b *strings.Builder, p *Process) {
	fmt.Fprintf(b, "    mounts (%d):\n", len(p.Mounts))
	t := NewTable("      ")
	for k := range p.Mounts {
		m := &p.Mounts[k]
		t.Row(Printable(m.Point), m.Type, Printable(m.Source+" "+m.Root), strings.Join(m.Flags, ","))
	}
	b.WriteString(t.String())
}

// callDetails groups calls by what happens to them.
func callDetails(b *strings.Builder, s *Seccomp, paint Paint) {
	section(b, "system calls: "+s.words(), paint)
	if s.Calls == nil {
		return
	}
	for _, line := range s.Calls.lines() {
		fmt.Fprintf(b, "    %s\n", line)
	}
}

// lines are what a filter does, in as few lines as it can be said: the calls of
// one answer in one, and one for each condition on arguments.
func (c *Calls) lines() []string {
	all := []string{fmt.Sprintf("otherwise %s; 32-bit calls %s; x32 calls %s", c.Default, c.Foreign, c.X32)}
	byAction := map[string][]string{}
	for _, rule := range c.Calls {
		if rule.Action != "" {
			byAction[rule.Action] = append(byAction[rule.Action], rule.Call)
		}
	}
	for _, action := range slices.Sorted(maps.Keys(byAction)) {
		all = append(all, fmt.Sprintf("%s: %s", action, strings.Join(byAction[action], " ")))
	}
	for _, rule := range c.Calls {
		for k := 0; k < len(rule.When); {
			when := rule.When[k]
			// Many values of one argument go in one line.
			subject, values, one := strings.Cut(when.Condition, " == ")
			for k++; k < len(rule.When) && one && rule.When[k].Action == when.Action; k++ {
				next, value, same := strings.Cut(rule.When[k].Condition, " == ")
				if !same || next != subject || strings.Contains(value, " ") || strings.Contains(values, " and ") {
					break
				}
				values += ", " + value
			}
			condition := when.Condition
			if strings.Contains(values, ", ") {
				condition = subject + " is one of " + values
			}
			if condition != "otherwise" {
				condition = "when " + condition
			}
			all = append(all, fmt.Sprintf("%s: %s %s", rule.Call, when.Action, condition))
		}
	}
	return all
}

func ids(four [4]uint32) string {
	if four[0] == four[1] && four[0] == four[2] && four[0] == four[3] {
		return fmt.Sprint(four[0])
	}
	return fmt.Sprint(four)
}

// namedSet is one of the five sets of capabilities.
type namedSet struct {
	Name string
	Has  []string
}

func (c *Capabilities) sets() []namedSet {
	return []namedSet{
		{"permitted", c.Permitted}, {"effective", c.Effective}, {"inheritable", c.Inheritable},
		{"bounding", c.Bounding}, {"ambient", c.Ambient},
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func capabilitiesText(names []string) string {
	if len(names) > 35 {
		return fmt.Sprintf("all %d", len(names))
	}
	return listWords(names)
}
