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
}

func (c *compiler) compile() *plan.Plan {
	p := &plan.Plan{Application: c.file.Application.Value, Source: c.policy.Source}
	if components := c.policy.tree.get("components"); components != nil && components.kind == mapNode && len(components.pairs) == 0 {
		c.mistake(c.file.Components.Position, "add NAME: {command: [/usr/bin/PROGRAM]}", "the application has no component")
	}
	for i := range c.file.Grants.Entries {
		p.Grants = append(p.Grants, c.grant(&c.file.Grants.Entries[i]))
	}
	for i := range c.file.Components.Entries {
		entry := &c.file.Components.Entries[i]
		component := &componentCompiler{compiler: c, name: entry.Name, at: entry.Position, source: &entry.Value, grants: p.Grants}
		p.Components = append(p.Components, component.compile())
	}
	startable := c.starts(p)
	if _, mistakes := split(c.problems); len(mistakes) == 0 {
		// Else a misspelt name would be reported a second time, as its absence.
		c.unused(p, startable)
	}
	c.essential(p)
	p.Supervision = c.supervision()
	if name := c.file.Control.ReadGroup; name.IsSet() {
		group, known := c.host.Group(name.Value)
		if !known {
			c.mistake(name.Position, "", "the host has no group %q", brief(name.Value))
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
		MayStart:    texts(s.MayStart),
		Optional:    texts(s.Optional),
	}
	if s.Output.Value == "inherit" {
		result.Output = plan.OutputInherit
	}
	if s.Start.Value == "on-exec" {
		c.mistake(s.Start.Position, "write with-application, per-connection or per-request", "start: on-exec is something that this version cannot do yet")
	}
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
	result.Program, result.Arguments, result.Root = c.root(&result)
	result.Grants = c.bindings(result.Start)
	result.Transparent = c.transparent(result.Start)
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
	return map[string]plan.Start{"with-application": plan.WithApplication, "per-connection": plan.PerConnection,
		"per-request": plan.PerRequest, "on-exec": plan.OnExec}[s.Start.Or("with-application")]
}

func (c *componentCompiler) workers(start plan.Start) plan.Workers {
	w := c.source.Workers
	if start == plan.WithApplication {
		if w.Position.Line > 0 {
			c.mistake(w.Position, "remove workers:, or write start: per-request or per-connection", "a component that starts with the application has one worker")
		}
		return plan.Workers{Maximum: 1}
	}
	result := plan.Workers{Maximum: w.Maximum.Or(defaultWorkers), Queue: w.Queue.Or(defaultQueue), ReadyAhead: w.ReadyAhead.Value}
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
	}
}

// starts checks who may start whom, and who comes after whom. It returns the
// components that somebody may start.
func (c *compiler) starts(p *plan.Plan) map[string]bool {
	startable := map[string]bool{}
	for i := range p.Components {
		source := &c.file.Components.Entries[i].Value
		for _, name := range source.MayStart {
			startable[name.Value] = true
			other, known := c.file.Components.Find(name.Value)
			switch {
			case !known:
				c.mistake(name.Position, suggestion(name.Value, c.others(p.Components[i].Name)), "no component is named %q", name.Value)
			case startOf(other) != plan.PerRequest:
				c.mistake(name.Position, "write start: per-request in "+name.Value, "%q does not start per request", name.Value)
			}
		}
		for _, name := range source.After {
			other, known := c.file.Components.Find(name.Value)
			switch {
			case !known:
				c.mistake(name.Position, suggestion(name.Value, c.others(p.Components[i].Name)), "no component is named %q", name.Value)
			case name.Value == p.Components[i].Name:
				c.mistake(name.Position, "remove it", "a component cannot start after itself")
			case startOf(other) != plan.WithApplication:
				c.mistake(name.Position, "", "%q does not start with the application, so nothing can start after it", name.Value)
			}
		}
	}
	c.cycles()
	return startable
}

// others are the components beside one.
func (c *compiler) others(name string) []string {
	var names []string
	for _, other := range c.file.Components.Names() {
		if other != name {
			names = append(names, other)
		}
	}
	return names
}

// cycles reports a ring of after: with its whole path.
func (c *compiler) cycles() {
	const (
		open = iota + 1
		done
	)
	state := map[string]int{}
	var stack []string
	var visit func(name string)
	visit = func(name string) {
		component, known := c.file.Components.Find(name)
		if !known || state[name] == done {
			return
		}
		state[name] = open
		stack = append(stack, name)
		for _, before := range component.After {
			if state[before.Value] == open && before.Value != name {
				ring := stack
				for ring[0] != before.Value {
					ring = ring[1:]
				}
				c.mistake(before.Position, "one of them must not wait", "components wait for one another: %s after %s",
					strings.Join(ring, " after "), before.Value)
				continue
			}
			if state[before.Value] == 0 {
				visit(before.Value)
			}
		}
		stack = stack[:len(stack)-1]
		state[name] = done
	}
	for _, name := range c.file.Components.Names() {
		visit(name)
	}
}

// essential: an application of one component is over when that one is.
func (c *compiler) essential(p *plan.Plan) {
	only := -1
	for i := range p.Components {
		if p.Components[i].Start == plan.WithApplication {
			if only >= 0 {
				return
			}
			only = i
		}
	}
	if only >= 0 {
		p.Components[only].Life.Essential = c.file.Components.Entries[only].Value.Essential.Or(true)
	}
}

func (c *componentCompiler) life(component *plan.Component) plan.Life {
	s := c.source
	restart := "never"
	if component.Start == plan.WithApplication {
		restart = "on-failure"
	} else {
		for _, key := range []struct {
			name string
			at   plan.Position
		}{{"restart", s.Restart.Position}, {"essential", s.Essential.Position}, {"watchdog", s.Watchdog.Position}, {"ready", s.Ready.Position}} {
			if key.at.Line > 0 {
				c.mistake(key.at, "remove it, or write start: with-application", "%s: is for components that start with the application", key.name)
			}
		}
		if len(s.After) > 0 {
			c.mistake(s.After[0].Position, "remove it", "after: is for components that start with the application")
		}
	}
	stop, _ := signalNumber(s.StopSignal.Or(defaultStopSignal))
	life := plan.Life{
		Restart:      map[string]plan.Restart{"always": plan.RestartAlways, "on-failure": plan.RestartOnFailure, "never": plan.RestartNever}[s.Restart.Or(restart)],
		Delay:        s.RestartDelay.Or(defaultDelay),
		DelayMaximum: s.DelayMaximum.Or(defaultDelayMaximum),
		Ready:        c.ready(component),
		StopSignal:   stop,
		StopTimeout:  s.StopTimeout.Or(defaultStopTimeout),
		Watchdog:     s.Watchdog.Value,
		After:        texts(s.After),
		Essential:    s.Essential.Value,
	}
	if s.ReloadSignal.IsSet() {
		life.ReloadSignal, _ = signalNumber(s.ReloadSignal.Value)
	}
	if life.DelayMaximum < life.Delay {
		at, hint := s.DelayMaximum.Position, "make restart-delay-maximum longer"
		if !s.DelayMaximum.IsSet() {
			at = s.RestartDelay.Position
		}
		c.mistake(at, hint, "the longest delay, %s, is shorter than the first, %s", life.DelayMaximum, life.Delay)
	}
	return life
}

func (c *componentCompiler) ready(component *plan.Component) plan.Ready {
	s := c.source
	ready := plan.Ready{Kind: plan.ReadyAtOnce, Timeout: s.ReadyTimeout.Or(defaultReadyTimeout)}
	switch how := s.Ready.How; {
	case s.Ready.Word.Value == "notify":
		ready.Kind = plan.ReadyNotify
	case how.FD.IsSet():
		ready.Kind, ready.Number = plan.ReadyFD, how.FD.Value
		for _, binding := range component.Grants {
			if binding.Number == ready.Number {
				c.mistake(how.FD.Position, "choose another number", "descriptor %d is the grant %q", ready.Number, c.grants[binding.Grant].Name)
			}
		}
	case how.Connect.IsSet():
		ready.Kind = plan.ReadyConnect
		found := false
		for _, binding := range component.Grants {
			if c.grants[binding.Grant].Name == how.Connect.Value {
				ready.Grant, found = binding.Grant, c.grants[binding.Grant].Kind == plan.GrantListen
			}
		}
		if !found {
			c.mistake(how.Connect.Position, "name a listening grant of this component", "the component has no listening grant %q", how.Connect.Value)
		}
	case len(how.Command) > 0:
		ready.Kind, ready.Command = plan.ReadyCommand, texts(how.Command)
		if wrong, hint := checkPath(ready.Command[0]); wrong != "" {
			c.mistake(how.Command[0].Position, hint, "%s", wrong)
		}
	}
	return ready
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
