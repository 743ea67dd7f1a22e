package policy

import (
	"fmt"
	"math"
	"strings"

	"bulkhead/policy/plan"
)

// Right is one thing that a component may do, or one bound on it, in words.
// Explain lists them, Diff compares them.
type Right struct {
	Component string        `json:"component,omitempty"`
	Topic     string        `json:"topic"`
	Text      string        `json:"text"`
	Why       string        `json:"why,omitempty"`
	Position  plan.Position `json:"position"`

	subject  string // what Diff takes for the same thing in two policies
	bits     uint64 // parts of the right that can be gained and lost
	amount   uint64 // more is more power
	detail   bool   // for Explain only: no power lies in it
	negative bool   // it takes power away: to lose it is a gain
	call     string // a system call: Diff writes many in one line
}

// The topics, in the order in which Explain prints them.
var topics = []string{"program", "identity", "files", "grants", "network", "system calls", "limits", "environment", "life"}

// rights lists what a component may do.
func (p *Policy) rights(pl *plan.Plan, index int) []Right {
	component := &pl.Components[index]
	source, known := p.file.Components.Find(component.Name)
	if !known {
		source = &Component{}
	}
	l := &rightList{plan: pl, component: component, source: source}
	l.program()
	l.identity()
	l.files()
	l.grants()
	l.network()
	l.calls()
	l.limits()
	l.environment()
	l.life()
	return l.rights
}

type rightList struct {
	plan      *plan.Plan
	component *plan.Component
	source    *Component
	rights    []Right
}

func (l *rightList) add(topic, subject, text string, at plan.Position) *Right {
	why := ""
	if at.Line == 0 {
		why = "default"
	}
	l.rights = append(l.rights, Right{Component: l.component.Name, Topic: topic, subject: topic + " " + subject, Text: text, Position: at, Why: why})
	return &l.rights[len(l.rights)-1]
}

func (l *rightList) program() {
	c := l.component
	at := c.Position
	if len(l.source.Command) > 0 {
		at = l.source.Command[0].Position
	}
	words := make([]string, len(c.Arguments))
	for i, argument := range c.Arguments {
		words[i] = shellWord(argument)
	}
	r := l.add("program", "command "+strings.Join(words, " "), "runs "+strings.Join(words, " "), at)
	if len(c.Arguments) > 0 && c.Arguments[0] != c.Program {
		r.Text += " (the program " + c.Program + ")"
	}
	l.add("program", "start", "starts "+startText(c.Start), l.source.Start.Position).detail = true
	if !keptUp(c.Start) {
		l.add("program", "workers", fmt.Sprintf("at most %d workers at once, %d requests waiting, %d workers ready ahead", c.Workers.Maximum, c.Workers.Queue, c.Workers.ReadyAhead),
			l.source.Workers.Position).amount = uint64(c.Workers.Maximum)
	}
	for i, name := range c.MayStart {
		var at plan.Position
		if i < len(l.source.MayStart) {
			at = l.source.MayStart[i].Position // those behind are implied by files.execute
		}
		l.add("program", "may-start "+name, "may start workers of "+name, at)
	}
	for _, replaced := range c.Replaces {
		text := "runs in the place of " + replaced.Path
		if replaced.Program != replaced.Path {
			text += ", by " + replaced.Program
		}
		l.add("program", "replaces "+replaced.Path, text, l.source.Replaces[0].Path.Position)
	}
	if c.Start == plan.OnExec {
		l.passes()
	}
	where := "starts in " + c.Directory
	if c.Start == plan.OnExec && !c.Pass.KeepDirectory {
		where = "starts where its caller is; where that is not there, in " + c.Directory
	}
	l.add("program", "directory", where, l.source.Directory.Position).detail = true
	if c.Log != "" {
		l.log()
	}
	if c.Output == plan.OutputInherit {
		l.add("program", "output", "has the launcher's own terminal or files as input and output", l.source.Output.Position)
	}
}

// passes says what the callers of an on-exec component choose for it.
func (l *rightList) passes() {
	p, s := &l.component.Pass, &l.source.Pass
	l.add("program", "arguments", "takes over "+passText("argument", p.Arguments)+" of its callers", s.Arguments.Position)
	l.add("program", "environment", "takes over "+passText("variable", p.Environment)+" of its callers", s.Environment.Position)
	var kinds []string
	for i, kind := range plan.PassWords {
		if p.Descriptors>>i&1 == 1 {
			kinds = append(kinds, kind)
		}
	}
	text, at := "no descriptor", s.Position
	if len(kinds) > 0 {
		text = "descriptors of " + list(kinds, "and")
	}
	if len(s.Descriptors) > 0 {
		at = s.Descriptors[0].Position
	}
	l.add("program", "descriptors", "takes over "+text+" of its callers", at).bits = uint64(p.Descriptors)
	for i, directory := range p.Directories {
		l.add("program", "directory "+directory, "takes over descriptors of the directory "+directory, s.Directories[i].Position)
	}
}

func passText(what string, patterns []string) string {
	switch {
	case len(patterns) == 0:
		return "no " + what + "s"
	case len(patterns) == 1 && patterns[0] == "*":
		return "all " + what + "s"
	}
	return what + "s like " + list(patterns, "and")
}

func (l *rightList) identity() {
	c := l.component
	switch {
	case c.Hosts.Shared != "":
		r := l.add("identity", "user", fmt.Sprintf("runs as the user who starts it (user %d, group %d): %s", c.Hosts.UID, c.Hosts.GID, c.Hosts.Shared), l.source.User.Position)
		r.detail = !l.source.User.IsSet()
	case c.Hosts.Ordinary && l.source.User.IsSet():
		l.add("identity", "user "+c.User.Name, fmt.Sprintf("is %s in its compartment, and outside user %d and group %d, which the host does not know", c.User.Name, c.Hosts.UID, c.Hosts.GID), l.source.User.Position)
	case c.User.UID == 0 && c.Hosts.UID == c.Hosts.Init && len(c.Hosts.Become) > 0 && c.Hosts.UID != 0:
		l.add("identity", "user", fmt.Sprintf("begins as its compartment's root, whom the host does not know (%d)", c.Hosts.UID), l.source.Become[0].Position)
	case c.Hosts.UID == 0 && c.User.UID == 0:
		l.add("identity", "user root", "runs as root of the host", l.source.User.Position)
	case l.source.User.IsSet():
		l.add("identity", "user "+c.User.Name, fmt.Sprintf("runs as %s (user %d, group %d)", c.User.Name, c.Hosts.UID, c.Hosts.GID), l.source.User.Position)
	default:
		l.add("identity", "user", fmt.Sprintf("runs as user %d and group %d, which the host does not know", c.Hosts.UID, c.Hosts.GID), l.source.User.Position).detail = true
	}
	where := ""
	if c.Hosts.Ordinary && (c.Hosts.Shared == "" || len(c.User.Groups) > 0) {
		where = " of its compartment"
	}
	if l.source.Group.IsSet() {
		l.add("identity", "group "+l.source.Group.Value, "is in the group "+l.source.Group.Value+where, l.source.Group.Position)
	}
	for _, group := range l.source.Groups {
		l.add("identity", "group "+group.Value, "is in the group "+group.Value+where, group.Position)
	}
	for _, account := range c.Hosts.Become {
		l.add("identity", "become "+account.Name, fmt.Sprintf("may become %s (user %d, group %d)", account.Name, account.HostUID, account.HostGID), l.source.Become[0].Position)
	}
	for i, capability := range c.Capabilities {
		if i == len(l.source.Capabilities) {
			break // the rest is become:'s
		}
		l.add("identity", capability, "keeps the capability "+capability, l.source.Capabilities[i].Position)
	}
	if len(c.Capabilities) == 0 {
		l.add("identity", "no capability", "has no capability", plan.Position{}).detail = true
	}
	// A file's mode is 0666 or 0777 at most, less the mask.
	if c.Start == plan.OnExec && !c.Pass.KeepUmask {
		l.add("identity", "umask", "makes files with its caller's umask", plan.Position{}).bits = 0o777
		return
	}
	l.add("identity", "umask", fmt.Sprintf("makes files with the umask %04o", c.Umask), l.source.Umask.Position).bits = uint64(^c.Umask & 0o777)
}

func (l *rightList) files() {
	for _, e := range l.component.Root {
		var r *Right
		switch e.Kind {
		case plan.EntryBind:
			text := accessWords(e.Access) + " " + e.Target
			if e.Dir {
				text += " and all below"
			}
			r = l.add("files", e.Target, "may "+text, e.Position)
		case plan.EntryStub:
			r = l.add("files", e.Target, "may execute "+e.Target+", "+e.Reason, e.Position)
		case plan.EntryTemporary:
			r = l.add("files", e.Target, fmt.Sprintf("has an empty directory %s of its own, of at most %s", e.Target, sizeText(e.Size)), e.Position)
			r.amount = e.Size
		case plan.EntryDevice:
			r = l.add("files", e.Target, "may "+accessWords(e.Access)+" the device "+e.Target, e.Position)
		case plan.EntryHidden:
			r = l.add("files", "hidden "+e.Target, "does not see "+e.Target, e.Position)
			r.negative = true
		case plan.EntrySymlink:
			r = l.add("files", e.Target, fmt.Sprintf("sees the link %s -> %s", e.Target, e.Source), e.Position)
			r.detail = true
		default:
			r = l.add("files", e.Target, "sees "+e.Target, e.Position)
			r.detail = true
		}
		r.bits = accessBits(e.Access)
		r.Why = e.Reason
	}
	proc := map[plan.Proc]string{plan.ProcNone: "has no /proc", plan.ProcOwn: "sees its own processes in /proc", plan.ProcFull: "sees its own processes and the system's files in /proc"}[l.component.Proc]
	l.add("files", "/proc", proc, l.source.Files.Proc.Position).amount = uint64(l.component.Proc)
}

func (l *rightList) grants() {
	positions := map[string]plan.Position{}
	for _, use := range l.source.Grants {
		positions[use.Name.Value] = use.Name.Position
	}
	for _, b := range l.component.Grants {
		g := &l.plan.Grants[b.Grant]
		text := "may " + GrantText(g)
		byPath := l.component.TransparentFiles && (g.Kind == plan.GrantFile || g.Kind == plan.GrantDirectory)
		switch {
		case b.Number >= 0 && byPath:
			text += fmt.Sprintf(", as descriptor %d and by its path", b.Number)
		case b.Number >= 0:
			text += fmt.Sprintf(", as descriptor %d", b.Number)
		case byPath:
			text += ", by its path and on request"
		default:
			text += ", on request"
		}
		// The same right under another name, or at another number, is no
		// gain: so the subject is what it reaches.
		r := l.add("grants", addressOrPath(g), text, g.Position)
		r.bits, r.Why = accessBits(g.Access), "the grant "+g.Name
		if g.Create {
			r.bits |= 1 << 32
		}
		if at := positions[g.Name]; at.Line > 0 {
			r.Why += ", named at " + strings.TrimSuffix(positionText(at), ": ")
		}
	}
	if l.component.Transparent {
		r := l.add("grants", "transparent", "its own calls of socket, bind and connect are answered out of these grants", l.source.Transparent.Position)
		r.detail = true
	}
	if l.component.TransparentFiles {
		r := l.add("grants", "transparent files", "its own calls on paths beneath its file and directory grants are answered out of these grants", l.source.Transparent.Position)
		r.detail = true
	}
}

// accessBits are the parts of an access: who may write may append.
func accessBits(a plan.Access) uint64 {
	if a&plan.Write != 0 {
		a |= plan.Append
	}
	return uint64(a)
}

func addressOrPath(g *plan.Grant) string {
	kind := map[plan.GrantKind]string{plan.GrantListen: "listen", plan.GrantConnect: "connect", plan.GrantDirectory: "directory", plan.GrantDevice: "device", plan.GrantFile: "file"}[g.Kind]
	if g.Network != "" {
		return kind + " " + g.Socket()
	}
	return kind + " " + g.Path
}

func (l *rightList) network() {
	if l.component.HostNetwork {
		l.add("network", "host", "shares the machine's network: every address and interface", l.source.Network.Position)
		return
	}
	if l.component.Loopback {
		l.add("network", "loopback", "has an empty network of its own, with a loopback interface", l.source.Network.Position).detail = true
		return
	}
	l.add("network", "none", "has an empty network of its own", l.source.Network.Position).detail = true
}

func (l *rightList) calls() {
	where := map[string]plan.Position{}
	for _, use := range l.source.Syscalls {
		for _, call := range callsNamedBy(use) {
			if where[call].Line == 0 {
				where[call] = use.Position
			}
		}
	}
	for _, r := range l.component.Syscalls.Rules {
		if r.Action != plan.Allow && r.Action != plan.Broker {
			continue
		}
		text := "may call " + r.Call
		if len(r.Conditions) > 0 {
			text += " when " + ruleConditions(r)
		}
		right := l.add("system calls", r.Call+" "+ruleConditions(r), text, where[r.Call])
		right.call = strings.TrimPrefix(text, "may call ")
		right.amount = map[plan.Action]uint64{plan.Broker: 1, plan.Allow: 2}[r.Action]
		if r.Action == plan.Broker {
			right.Text += ", performed by the monitor"
		}
	}
}

func callsNamedBy(use SyscallUse) []string {
	switch {
	case use.Call.Call.IsSet():
		return []string{use.Call.Call.Value}
	case strings.HasPrefix(use.Name.Value, "@"):
		return callsOf[use.Name.Value[1:]]
	case use.Name.IsSet():
		return []string{use.Name.Value}
	}
	return nil
}

func (l *rightList) limits() {
	limits, s := l.component.Limits, l.source.Limits
	// A limit that is not set is no limit: the most power.
	amount := func(name, text string, value uint64, at plan.Position, unlimited bool) {
		r := l.add("limits", name, text, at)
		r.amount = value
		switch {
		case unlimited && value == 0:
			r.amount, r.Text = math.MaxUint64, "no limit on "+name
		case value == 0:
			r.Text = "no " + name
		}
	}
	amount("memory", "at most "+sizeText(limits.Memory)+" of memory", limits.Memory, s.Memory.Position, true)
	amount("swap", "at most "+sizeText(limits.Swap)+" of swap", limits.Swap, s.Swap.Position, false)
	amount("processes", fmt.Sprintf("at most %d processes and threads", limits.Processes), uint64(limits.Processes), s.Processes.Position, true)
	amount("cpu-quota", fmt.Sprintf("at most %d%% of one processor", limits.CPUQuota), uint64(limits.CPUQuota), s.CPUQuota.Position, true)
	amount("cpu-time", "at most "+durationText(limits.CPUTime)+" of processor time", uint64(limits.CPUTime), s.CPUTime.Position, true)
	amount("wall-time", "at most "+durationText(limits.WallTime)+" of time", uint64(limits.WallTime), s.WallTime.Position, true)
	amount("requests", fmt.Sprintf("at most %d requests a second", limits.Requests), uint64(limits.Requests), s.Requests.Position, true)
	amount("request-bytes", "requests of at most "+sizeText(limits.RequestBytes)+" a second", limits.RequestBytes, s.RequestBytes.Position, true)
	amount("open-files", fmt.Sprintf("at most %d open descriptors", limits.OpenFiles), uint64(limits.OpenFiles), s.OpenFiles.Position, true)
	amount("file-size", "writes files of at most "+sizeText(limits.FileSize), limits.FileSize, s.FileSize.Position, true)
	amount("core-size", "core dumps of at most "+sizeText(limits.CoreSize), limits.CoreSize, s.CoreSize.Position, false)
	amount("locked-memory", "locks at most "+sizeText(limits.Locked)+" of memory", limits.Locked, s.Locked.Position, false)
	if limits.CPUShare > 0 {
		amount("cpu-share", fmt.Sprintf("processor weight %d", limits.CPUShare), uint64(limits.CPUShare), s.CPUShare.Position, false)
	}
	if limits.IOWeight > 0 {
		amount("io-weight", fmt.Sprintf("disk weight %d", limits.IOWeight), uint64(limits.IOWeight), s.IOWeight.Position, false)
	}
	for i, wall := range l.component.Optional {
		l.add("limits", "optional "+wall, "starts without the wall "+wall+" where the kernel cannot build it", l.source.Optional[i].Position)
	}
}

func (l *rightList) environment() {
	values := map[string]string{}
	for _, variable := range l.component.Environment {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	for _, v := range l.source.Environment.Variables {
		value, set := values[v.Name]
		switch {
		case v.Source.FromFile.IsSet():
			// The value is a secret, and explain's output is not.
			l.add("environment", v.Name+" from "+v.Source.FromFile.Value, v.Name+" is the content of "+v.Source.FromFile.Value, v.Position)
		case v.Source.Inherit.IsSet():
			l.add("environment", v.Name+" inherited", v.Name+" is inherited", v.Position)
		case set:
			l.add("environment", v.Name, v.Name+" is "+shellWord(value), v.Position).detail = true
		}
	}
	if len(l.source.Environment.Variables) == 0 {
		l.add("environment", "empty", "empty", plan.Position{}).detail = true
	}
}

func (l *rightList) life() {
	life, s := l.component.Life, l.source
	say := func(text string, at plan.Position) { l.add("life", text, text, at).detail = true }
	if !keptUp(l.component.Start) {
		say(fmt.Sprintf("is asked to end by %s and killed %s later", signalName(life.StopSignal), durationText(life.StopTimeout)), s.StopTimeout.Position)
		return
	}
	for _, use := range s.After {
		text := "starts after " + use.Name.Value + " is ready"
		if use.Tried() {
			text += ", or without it when its start has failed"
		}
		say(text, use.Name.Position)
	}
	ready := "is ready as soon as it runs"
	switch life.Ready.Kind {
	case plan.ReadyNotify:
		ready = "is ready when it says READY=1"
	case plan.ReadyFD:
		ready = fmt.Sprintf("is ready when it writes a newline to descriptor %d", life.Ready.Number)
	case plan.ReadyConnect:
		ready = "is ready when " + l.plan.Grants[life.Ready.Grant].Socket() + " accepts a connection"
	case plan.ReadyCommand:
		ready = "is ready when this ends with 0: " + strings.Join(life.Ready.Command, " ")
	}
	say(ready+", within "+durationText(life.Ready.Timeout), s.Ready.Position)
	restart := map[plan.Restart]string{plan.RestartAlways: "is restarted whenever it ends", plan.RestartOnFailure: "is restarted when it fails", plan.RestartNever: "is not restarted"}[life.Restart]
	if life.Restart != plan.RestartNever {
		restart += fmt.Sprintf(", after %s at first and %s at most", durationText(life.Delay), durationText(life.DelayMaximum))
	}
	say(restart, s.Restart.Position)
	say(fmt.Sprintf("is asked to end by %s and killed %s later", signalName(life.StopSignal), durationText(life.StopTimeout)), firstSet(s.StopSignal.Position, s.StopTimeout.Position))
	if life.Background {
		say("runs as long as any process of it does", s.Background.Position)
	}
	if life.Killable {
		say("is killed at once when it has no connection", s.Killable.Position)
	}
	if life.ReloadSignal != 0 {
		say("reads its configuration again on "+signalName(life.ReloadSignal), s.ReloadSignal.Position)
	}
	if life.Watchdog > 0 {
		say("is restarted when it does not say WATCHDOG=1 for "+durationText(life.Watchdog), s.Watchdog.Position)
	}
	if l.component.Start == plan.OnDemand {
		idle := "stays up until it ends by itself"
		if life.Idle > 0 {
			idle = "is stopped when it has had no connection for " + durationText(life.Idle)
		}
		say(idle, s.Idle.Position)
	}
	l.health(say)
	l.onExit(say)
	if life.Essential {
		say("is essential: the application ends with it", s.Essential.Position)
	}
}

func firstSet(positions ...plan.Position) plan.Position {
	for _, at := range positions {
		if at.Line > 0 {
			return at
		}
	}
	return plan.Position{}
}

// shellWord quotes a text where a shell would need it.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
