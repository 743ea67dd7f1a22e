package policy

import (
	"path"
	"strconv"
	"strings"
	"time"

	"bulkhead/policy/plan"
)

// Compile turns a policy into a plan for a host: it fills in the defaults,
// finds what programs need, and checks everything that needs more than one key
// or a look at the machine. The error is a *Problems with all mistakes, those
// of Load included; the warnings are for the reader of a good policy too.
func Compile(p *Policy, host Host) (*plan.Plan, []Problem, error) {
	c := &compiler{
		reporter: &reporter{problems: append([]Problem(nil), p.problems...)},
		policy:   p,
		file:     &p.file,
		host:     newLookups(host),
		used:     map[string]bool{},
		taken:    map[uint32]bool{},
	}
	c.linker = newLinker(c.host)
	result := c.compile()
	warnings, mistakes := split(p.sources.finish(c.problems))
	if len(mistakes) > 0 {
		return nil, warnings, &Problems{List: mistakes}
	}
	return result, warnings, nil
}

// compiler holds what the components of one compilation share.
type compiler struct {
	*reporter
	policy *Policy
	file   *File
	host   *lookups
	linker *linker
	used   map[string]bool // grants that some component has
	taken  map[uint32]bool // dynamic ids given out
	// ordinary is nil until a component of an ordinary user's asks.
	ordinary *ordinaryIDs
	// replaced are the programs of on-exec components, sorted by path.
	replaced []replacement
}

func (c *compiler) compile() *plan.Plan {
	p := &plan.Plan{Application: c.file.Application.Value, Source: c.policy.Source}
	if components := c.policy.tree.get("components"); components != nil && components.kind == mapNode && len(components.pairs) == 0 {
		c.mistake(c.file.Components.Position, "add NAME: {command: [/usr/bin/PROGRAM]}", "the application has no component")
	}
	for i := range c.file.Grants.Entries {
		p.Grants = append(p.Grants, c.grant(&c.file.Grants.Entries[i]))
	}
	c.replacements()
	for i := range c.file.Components.Entries {
		entry := &c.file.Components.Entries[i]
		component := &componentCompiler{compiler: c, name: entry.Name, at: entry.Position, source: &entry.Value, grants: p.Grants}
		p.Components = append(p.Components, component.compile())
	}
	p.Control.Metrics = c.metrics(p)
	p.Names = c.names(p)
	startable := c.starts(p)
	if _, mistakes := split(c.problems); len(mistakes) == 0 {
		// Else a misspelt name would be reported a second time, as its absence.
		c.unused(p, startable)
	}
	c.essential(p)
	p.Logs = c.logs(p)
	p.Supervision = c.supervision()
	if name := c.file.Control.ReadGroup; name.IsSet() {
		group, known := c.host.Group(name.Value)
		if !known {
			c.mistake(name.Position, "", "the host has no group %q", brief(name.Value))
		}
		if uid, _ := c.host.EffectiveIDs(); uid != 0 {
			// Its state is beneath $XDG_RUNTIME_DIR, where nobody else may go.
			c.mistake(name.Position, "start the application as root, or leave read-group: out", "an ordinary user's application can be asked by nobody else")
		}
		p.Control.ReadGroup = group
	}
	return p
}

// componentCompiler compiles one component.
type componentCompiler struct {
	*compiler
	name   string
	at     plan.Position
	source *Component
	grants []plan.Grant
}

func (c *componentCompiler) compile() plan.Component {
	s := c.source
	result := plan.Component{
		Name:        c.name,
		Position:    c.at,
		Directory:   s.Directory.Or(defaultDirectory),
		Umask:       uint32(s.Umask.Or(defaultUmask)),
		Output:      plan.OutputLog,
		Start:       startOf(s),
		Proc:        map[string]plan.Proc{"none": plan.ProcNone, "own": plan.ProcOwn, "full": plan.ProcFull}[s.Files.Proc.Or("own")],
		Hostname:    s.Hostname.Or(c.name),
		Limits:      c.limits(),
		HostNetwork: s.Network.Value == "host",
		Loopback:    s.Network.Value == "loopback",
		MayStart:    texts(s.MayStart),
		Optional:    texts(s.Optional),
	}
	if s.Output.Value == "inherit" {
		result.Output = plan.OutputInherit
	}
	result.Pass = c.pass(result.Start)
	c.zeroes()
	if t := s.Limits.CPUTime; t.IsSet() && (t.Value%time.Second != 0 || t.Value == 0) {
		c.mistake(t.Position, "write 1s or more", "the kernel counts processor time in whole seconds")
	}
	if h := s.Hostname; h.IsSet() && !hostnameWord(h.Value) {
		c.mistake(h.Position, "letters, digits, - and ., at most 64", "%q cannot be a host's name", brief(h.Value))
	}
	result.Workers = c.workers(result.Start)
	result.Capabilities = c.capabilities()
	result.User, result.Hosts = c.identity()
	result.Environment = c.environment()
	result.Grants = c.bindings(result.Start)
	result.Transparent, result.TransparentFiles = c.transparent(result.Start)
	result.Program, result.Arguments, result.Root = c.root(&result)
	result.Syscalls = c.syscalls(&result)
	result.Life = c.life(&result)
	return result
}

// zeroes refuses limits of nothing: in a plan they would mean no limit.
func (c *componentCompiler) zeroes() {
	l := c.source.Limits
	for _, limit := range []struct {
		name string
		at   plan.Position
		zero bool
		hint string
	}{
		{"memory", l.Memory.Position, l.Memory.Value == 0, "write 64M"},
		{"file-size", l.FileSize.Position, l.FileSize.Value == 0, "write 1 if it is to write nothing"},
		{"wall-time", l.WallTime.Position, l.WallTime.Value == 0, "write 5s"},
		{"ready-timeout", c.source.ReadyTimeout.Position, c.source.ReadyTimeout.Value == 0, "write 60s"},
	} {
		if limit.at.Line > 0 && limit.zero {
			c.mistake(limit.at, limit.hint, "with a %s of 0 the component could not run", limit.name)
		}
	}
}

func startOf(s *Component) plan.Start {
	return map[string]plan.Start{"with-application": plan.WithApplication, "on-demand": plan.OnDemand, "per-connection": plan.PerConnection,
		"per-request": plan.PerRequest, "on-exec": plan.OnExec}[s.Start.Or("with-application")]
}

func (c *componentCompiler) workers(start plan.Start) plan.Workers {
	w := c.source.Workers
	if keptUp(start) {
		if w.Position.Line > 0 {
			c.mistake(w.Position, "remove workers:, or write start: per-request or per-connection", "a component that starts with the application or on demand has one worker")
		}
		return plan.Workers{Maximum: 1}
	}
	most := defaultWorkers
	if start == plan.OnExec {
		most = defaultExecutions // as many as its callers may have processes
	}
	result := plan.Workers{Maximum: w.Maximum.Or(most), Queue: w.Queue.Or(defaultQueue), ReadyAhead: w.ReadyAhead.Value}
	if result.ReadyAhead > result.Maximum {
		c.mistake(w.ReadyAhead.Position, "", "%d workers cannot be ready ahead where %d may run", result.ReadyAhead, result.Maximum)
	}
	return result
}

func (c *componentCompiler) capabilities() []string {
	var kept []string
	for _, name := range c.source.Capabilities {
		if !capabilityNames[name.Value] {
			hint := suggestion(name.Value, keysOf(capabilityNames))
			if upper := strings.ToUpper(strings.ReplaceAll(name.Value, "-", "_")); capabilityNames["CAP_"+upper] || capabilityNames[upper] {
				hint = "write CAP_" + strings.TrimPrefix(upper, "CAP_")
			}
			c.mistake(name.Position, hint, "%q is no capability", brief(name.Value))
			continue
		}
		kept = append(kept, name.Value)
	}
	if len(c.source.Become) > 0 {
		for _, name := range becoming {
			if !contains(kept, name) {
				kept = append(kept, name)
			}
		}
	}
	return kept
}

func (c *componentCompiler) environment() []string {
	var result []string
	for _, v := range c.source.Environment.Variables {
		value := v.Value.Value
		switch {
		case v.Source.FromFile.IsSet() && v.Source.Inherit.Value:
			c.mistake(v.Position, "keep one of them", "%s has two sources", v.Name)
			continue
		case v.Source.FromFile.IsSet():
			text, err := c.host.readText(v.Source.FromFile.Value, mostText)
			if err != nil {
				c.mistake(v.Source.FromFile.Position, "", "%s: %s", brief(v.Source.FromFile.Value), reason(err))
				continue
			}
			value = strings.TrimSuffix(text, "\n")
			if strings.ContainsRune(value, 0) {
				c.mistake(v.Source.FromFile.Position, "", "%s holds a NUL, which no variable can", brief(v.Source.FromFile.Value))
				continue
			}
		case v.Source.Inherit.IsSet():
			inherited, set := c.host.Variable(v.Name)
			if !set || !v.Source.Inherit.Value {
				continue // what the launcher does not have cannot be inherited
			}
			value = inherited
		}
		result = append(result, v.Name+"="+value)
	}
	return result
}

// unused warns of what is written and has no effect.
func (c *compiler) unused(p *plan.Plan, startable map[string]bool) {
	for _, entry := range c.file.Grants.Entries {
		if !c.used[entry.Name] {
			c.warn(entry.Position, "remove it, or name it under a component's grants:", "no component has the grant %q", entry.Name)
		}
	}
	for i := range p.Components {
		component := &p.Components[i]
		if component.Start == plan.PerRequest && !startable[component.Name] {
			c.warn(component.Position, "name it under another component's may-start:", "nobody may start %q", component.Name)
		}
		if component.Start == plan.OnExec && !startable[component.Name] {
			c.warn(component.Position, "name it under another component's may-start:, or its program under files.execute:", "nobody may execute %q", component.Name)
		}
	}
}

func texts(list []Text) []string {
	var values []string
	for _, text := range list {
		values = append(values, text.Value)
	}
	return values
}

// hostnameWord says whether a text can be a host's name, as sethostname(2) and
// hostname(7) have it.
func hostnameWord(text string) bool {
	for _, c := range []byte(text) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// inside says whether the path name is directory or below it.
func inside(name, directory string) bool {
	return name == directory || strings.HasPrefix(name, strings.TrimSuffix(directory, "/")+"/")
}

func clean(text string) string { return path.Clean(text) }

func itoa[T uint64 | uint32 | int](n T) string { return strconv.FormatUint(uint64(n), 10) }
