package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"bulkhead/policy/plan"
)

// Explain writes the complete plan in words: every right and the line that
// gives it. component "" means all of them.
func Explain(w io.Writer, p *Policy, pl *plan.Plan, component string) error {
	out := &wordWriter{to: w}
	if component == "" {
		out.line("application %s", pl.Application)
		out.line("")
	}
	found := false
	for i := range pl.Components {
		if component != "" && pl.Components[i].Name != component {
			continue
		}
		found = true
		p.explainComponent(out, pl, i)
	}
	if !found {
		return unknownComponent(pl, component)
	}
	if component == "" {
		explainSupervision(out, pl)
		if pl.Control.Metrics != "" {
			out.row("the supervisor answers GET /metrics on the grant "+pl.Control.Metrics, "", p.file.Control.Metrics.Position)
		}
	}
	return out.err
}

func unknownComponent(pl *plan.Plan, name string) error {
	var names []string
	for i := range pl.Components {
		names = append(names, pl.Components[i].Name)
	}
	return fmt.Errorf("no component is named %q (%s)", name, suggestion(name, names))
}

func (p *Policy) explainComponent(out *wordWriter, pl *plan.Plan, index int) {
	component := &pl.Components[index]
	out.line("component %s  (%s)", component.Name, place(component.Position))
	if extends := p.profiles[component.Name]; len(extends) > 0 {
		out.line("  extends %s", strings.Join(extends, ", "))
	}
	rights := p.rights(pl, index)
	for _, topic := range topics {
		out.line("  %s", topic)
		if topic == "system calls" {
			p.explainGroups(out, pl, index)
			continue
		}
		for _, r := range rights {
			if r.Topic == topic {
				out.row(r.Text, r.Why, r.Position)
			}
		}
	}
	out.line("")
}

// explainGroups names the groups of calls; ExplainFilter has the rules.
func (p *Policy) explainGroups(out *wordWriter, pl *plan.Plan, index int) {
	component := &pl.Components[index]
	source, known := p.file.Components.Find(component.Name)
	if !known {
		return
	}
	c := &componentCompiler{compiler: &compiler{reporter: &reporter{}}, name: component.Name, at: component.Position, source: source, grants: pl.Grants}
	for _, g := range c.implied(component) {
		out.row("may call @"+g.group+": "+groupDoc(g.group), g.why, g.position)
	}
	for _, use := range source.Syscalls {
		switch {
		case use.Call.Call.IsSet():
			out.row("may call "+use.Call.Call.Value+" when "+conditionWords(&use.Call), "", use.Position)
		case use.Name.IsSet() && strings.HasPrefix(use.Name.Value, "@"):
			out.row("may call "+use.Name.Value+": "+groupDoc(use.Name.Value[1:]), "", use.Position)
		case use.Name.IsSet():
			out.row("may call "+use.Name.Value, "", use.Position)
		}
		for _, denied := range use.Deny {
			out.row("may not call "+denied.Value, "", denied.Position)
		}
	}
	if component.Transparent {
		out.row("socket, bind and connect are performed by the monitor", "transparent", source.Transparent.Position)
	}
	if component.TransparentFiles {
		out.row("calls on paths beneath its file and directory grants are performed by the monitor", "transparent", source.Transparent.Position)
	}
	out.row("everything else is refused and reported", "", plan.Position{})
}

func conditionWords(s *SyscallCondition) string {
	for _, comparison := range []struct {
		text  Text
		words string
	}{{s.Equal, "is"}, {s.NotEqual, "is not"}, {s.Less, "is less than"}, {s.LessOrEqual, "is at most"}, {s.Greater, "is more than"}, {s.GreaterOrEqual, "is at least"}} {
		if comparison.text.IsSet() {
			masked := ""
			if s.Mask.IsSet() {
				masked = " masked with " + s.Mask.Value
			}
			return fmt.Sprintf("argument %d%s %s %s", s.Argument.Value, masked, comparison.words, comparison.text.Value)
		}
	}
	return ""
}

func groupDoc(name string) string {
	for _, group := range callGroups {
		if group.name == name {
			return group.doc
		}
	}
	return ""
}

func explainSupervision(out *wordWriter, pl *plan.Plan) {
	out.line("supervision")
	var walk func(g *plan.Group, indent string)
	walk = func(g *plan.Group, indent string) {
		name := g.Name
		if name == "" {
			name = "the application"
		}
		strategy := map[plan.Strategy]string{
			plan.OneForOne:  "a member that fails is restarted alone",
			plan.OneForAll:  "when a member fails, all of them are restarted",
			plan.RestForOne: "when a member fails, it and those after it are restarted",
		}[g.Strategy]
		out.line("%s%s: %s; more than %d restarts within %s are a failure", indent, name, strategy, g.Restarts, durationText(g.Within))
		if len(g.Members) > 0 {
			out.line("%s  members, in order: %s", indent, strings.Join(g.Members, ", "))
		}
		for i := range g.Groups {
			walk(&g.Groups[i], indent+"  ")
		}
	}
	walk(&pl.Supervision, "  ")
}

// ExplainFilter writes a component's filter as rules that a person can read.
func ExplainFilter(w io.Writer, pl *plan.Plan, component string) error {
	out := &wordWriter{to: w}
	found := false
	for i := range pl.Components {
		c := &pl.Components[i]
		if component != "" && c.Name != component {
			continue
		}
		found = true
		out.line("component %s", c.Name)
		for _, r := range c.Syscalls.Rules {
			text := fmt.Sprintf("%-24s %s", r.Call, actionText(r.Action, r.Errno))
			if len(r.Conditions) > 0 {
				text += " when " + ruleConditions(r)
			}
			out.line("  %s", text)
		}
		out.line("  %-24s %s", "everything else", actionText(c.Syscalls.Default, 0))
	}
	if !found {
		return unknownComponent(pl, component)
	}
	return out.err
}

// ExplainJSON writes the plan as JSON, without the secrets that came from
// files and without the compiled filters.
func ExplainJSON(w io.Writer, p *Policy, pl *plan.Plan, component string) error {
	shown := *pl
	shown.Components = nil
	for i := range pl.Components {
		c := pl.Components[i]
		if component != "" && c.Name != component {
			continue
		}
		c.Environment = p.withoutSecrets(&c)
		c.Syscalls.Program = nil
		shown.Components = append(shown.Components, c)
	}
	if component != "" && len(shown.Components) == 0 {
		return unknownComponent(pl, component)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(shown)
}

func (p *Policy) withoutSecrets(c *plan.Component) []string {
	source, known := p.file.Components.Find(c.Name)
	if !known {
		return nil
	}
	files := map[string]string{}
	for _, v := range source.Environment.Variables {
		if v.Source.FromFile.IsSet() {
			files[v.Name] = v.Source.FromFile.Value
		}
	}
	var shown []string
	for _, variable := range c.Environment {
		if name, _, _ := strings.Cut(variable, "="); files[name] != "" {
			variable = name + "=(content of " + files[name] + ")"
		}
		shown = append(shown, variable)
	}
	return shown
}

// place writes a position without the colon at its end.
func place(at plan.Position) string { return strings.TrimSuffix(positionText(at), ": ") }

// wordWriter writes lines and keeps the first error.
type wordWriter struct {
	to  io.Writer
	err error
}

func (w *wordWriter) line(format string, arguments ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintln(w.to, strings.TrimRight(printable(fmt.Sprintf(format, arguments...)), " "))
	}
}

// row writes a right, the reason for it and the line that gives it.
func (w *wordWriter) row(text, why string, at plan.Position) {
	note := place(at)
	switch {
	case note == "":
		note = why
	case why != "":
		note += ", " + why
	}
	if note == "" {
		w.line("    %s", text)
		return
	}
	w.line("    %-56s  # %s", text, note)
}
