package policy

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"bulkhead/policy/plan"
)

// Finding is a right that looks too wide.
type Finding struct {
	Rule    string  `json:"rule"` // the check's name
	Problem Problem `json:"problem"`
}

// lintRule is one check. All of them are in the table below.
type lintRule struct {
	name  string
	doc   string
	check func(l *linter, c *plan.Component, s *Component)
}

// LintRules are the names of the checks and what they look for.
func LintRules() [][2]string {
	var rules [][2]string
	for _, rule := range lintRules {
		rules = append(rules, [2]string{rule.name, rule.doc})
	}
	return rules
}

var lintRules = []lintRule{
	{"write-executable", "write access to a directory that holds a program or library of some component", lintWriteExecutable},
	{"network-and-secrets", "a way to the network and a secret in one component", lintNetworkAndSecrets},
	{"parser-with-network", "a component that extends parser and has a network", lintParserWithNetwork},
	{"root-capability", "a capability that is as good as root", lintRootCapability},
	{"policy-writable", "a granted or writable directory that holds the policy", lintPolicyWritable},
	{"whole-tree", "a whole top-level directory of the host", lintWholeTree},
	{"any-address", "a socket that listens on every address of the machine", lintAnyAddress},
	{"host-network", "the machine's network", lintHostNetwork},
	{"netlink", "sockets that speak to the kernel's network code", lintNetlink},
	{"privileged-calls", "system calls that no ordinary program needs", lintPrivilegedCalls},
	{"optional-wall", "a wall that may be missing", lintOptional},
	{"shell", "a shell or interpreter that may be executed beside the program", lintShell},
	{"passed-code", "an on-exec helper that executes what its callers pass", lintPassedCode},
	{"root-user", "root", lintRootUser},
	{"python-library", "Python without its standard library", lintPython},
	{"shown-and-granted", "a path that files: shows and a transparent grant answers for", lintShownAndGranted},
}

// Lint looks for rights that are allowed but too wide, in order of position.
func Lint(p *Policy, pl *plan.Plan) []Finding {
	l := &linter{policy: p, plan: pl}
	for i := range pl.Components {
		c := &pl.Components[i]
		source, known := p.file.Components.Find(c.Name)
		if !known {
			continue
		}
		for _, rule := range lintRules {
			l.rule = rule.name
			rule.check(l, c, source)
		}
	}
	var findings []Finding
	for _, problem := range p.sources.finish(l.problems) {
		findings = append(findings, Finding{Rule: l.rules[place(problem.Position)+problem.Message], Problem: problem})
	}
	return findings
}

// WriteFindings writes them as check writes warnings.
func WriteFindings(w io.Writer, findings []Finding, color bool) error {
	for _, f := range findings {
		shown := f.Problem
		shown.Message += " [" + f.Rule + "]"
		if _, err := io.WriteString(w, shown.Render(color)); err != nil {
			return err
		}
	}
	return nil
}

type linter struct {
	reporter
	policy *Policy
	plan   *plan.Plan
	rule   string
	rules  map[string]string
}

func (l *linter) find(at plan.Position, hint, format string, arguments ...any) {
	if l.rules == nil {
		l.rules = map[string]string{}
	}
	l.rules[place(at)+fmt.Sprintf(format, arguments...)] = l.rule
	l.warn(at, hint, format, arguments...)
}

// writable returns what a component may write: binds and granted directories.
func (l *linter) writable(c *plan.Component) (paths []string, positions []plan.Position) {
	for _, e := range c.Root {
		if e.Kind == plan.EntryBind && e.Access&plan.Write != 0 {
			paths, positions = append(paths, e.Target), append(positions, e.Position)
		}
	}
	for _, b := range c.Grants {
		if g := &l.plan.Grants[b.Grant]; g.Kind == plan.GrantDirectory && g.Access&plan.Write != 0 {
			paths, positions = append(paths, g.Path), append(positions, g.Position)
		}
	}
	return paths, positions
}

func lintWriteExecutable(l *linter, c *plan.Component, _ *Component) {
	paths, positions := l.writable(c)
	for i, directory := range paths {
		for j := range l.plan.Components {
			other := &l.plan.Components[j]
			for _, e := range other.Root {
				code := e.Access&plan.Execute != 0 || strings.HasPrefix(e.Reason, "needed by")
				if e.Kind == plan.EntryBind && code && inside(e.Source, directory) {
					l.find(positions[i], "keep programs and data in different directories",
						"%q may write %s, which holds %s, which %q runs", c.Name, directory, e.Source, other.Name)
					break
				}
			}
		}
	}
}

// secretNames are parts of names of files that hold secrets.
var secretNames = []string{"shadow", "secret", "password", "passwd.", ".key", "private", "id_rsa", "id_ed25519", ".pem", "token", "credential", "krb5.keytab", ".ssh", ".gnupg"}

func lintNetworkAndSecrets(l *linter, c *plan.Component, s *Component) {
	way := ""
	if c.HostNetwork {
		way = "the machine's network"
	}
	for _, b := range c.Grants {
		if g := &l.plan.Grants[b.Grant]; way == "" && (g.Kind == plan.GrantListen || g.Kind == plan.GrantConnect) && g.Port != 0 {
			way = "the grant " + g.Name
		}
	}
	if way == "" {
		return
	}
	const hint = "give the secret to a component without network, and let this one ask it"
	for _, v := range s.Environment.Variables {
		if v.Source.FromFile.IsSet() {
			l.find(v.Position, hint, "%q has a secret, %s, and %s", c.Name, v.Name, way)
		}
	}
	for _, e := range c.Root {
		if e.Kind == plan.EntryBind && strings.HasPrefix(e.Reason, "files.") && secretName(e.Source) {
			l.find(e.Position, hint, "%q has what looks like a secret, %s, and %s", c.Name, e.Source, way)
		}
	}
}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, part := range secretNames {
		if strings.Contains(path.Base(name), part) {
			return true
		}
	}
	return false
}

func lintParserWithNetwork(l *linter, c *plan.Component, s *Component) {
	parser := false
	for _, name := range s.Extends {
		parser = parser || name.Value == "parser"
	}
	if !parser {
		return
	}
	const hint = "a parser reads what it is given: let another component talk to the network"
	if c.HostNetwork {
		l.find(s.Network.Position, hint, "the parser %q has the machine's network", c.Name)
	}
	for _, b := range c.Grants {
		if g := &l.plan.Grants[b.Grant]; g.Kind == plan.GrantListen || g.Kind == plan.GrantConnect {
			l.find(g.Position, hint, "the parser %q may %s", c.Name, GrantText(g))
		}
	}
}

// rootCapabilities say how each of them leads to root.
var rootCapabilities = map[string]string{
	"CAP_SYS_ADMIN":          "it mounts, and much more",
	"CAP_SYS_PTRACE":         "it rewrites other processes",
	"CAP_SYS_MODULE":         "it loads code into the kernel",
	"CAP_SYS_RAWIO":          "it writes the machine's memory",
	"CAP_DAC_OVERRIDE":       "it writes every file",
	"CAP_DAC_READ_SEARCH":    "it reads every file",
	"CAP_SETUID":             "it becomes every user",
	"CAP_SETGID":             "it becomes every group",
	"CAP_CHOWN":              "it takes every file",
	"CAP_FOWNER":             "it changes every file's mode",
	"CAP_SETFCAP":            "it gives programs every capability",
	"CAP_BPF":                "it loads programs into the kernel",
	"CAP_NET_ADMIN":          "it rules the network",
	"CAP_MKNOD":              "it makes the device of every disk",
	"CAP_CHECKPOINT_RESTORE": "it looks into other processes",
}

func lintRootCapability(l *linter, c *plan.Component, s *Component) {
	for _, capability := range s.Capabilities {
		if how, known := rootCapabilities[capability.Value]; known {
			l.find(capability.Position, "remove it, or give the task to a component of its own", "%s is as good as root: %s", capability.Value, how)
		}
	}
}

func lintPolicyWritable(l *linter, c *plan.Component, _ *Component) {
	source, err := filepath.Abs(l.policy.Source)
	if err != nil {
		return
	}
	paths, positions := l.writable(c)
	for i, directory := range paths {
		if inside(source, directory) {
			l.find(positions[i], "keep the policy where no component can write", "%q may write %s, which holds this policy", c.Name, directory)
		}
	}
}

func lintWholeTree(l *linter, c *plan.Component, _ *Component) {
	for _, e := range c.Root {
		if e.Kind == plan.EntryBind && e.Dir && (path.Dir(e.Target) == "/" || e.Target == "/usr/bin" || e.Target == "/usr/lib" || e.Target == "/var/lib") {
			l.find(e.Position, "name the files and directories that the program needs", "%q sees the whole of %s", c.Name, e.Target)
		}
	}
	for _, b := range c.Grants {
		if g := &l.plan.Grants[b.Grant]; g.Kind == plan.GrantDirectory && (g.Path == "/" || path.Dir(g.Path) == "/") {
			l.find(g.Position, "grant a directory of the application's own", "%q may %s", c.Name, GrantText(g))
		}
	}
}

func lintAnyAddress(l *linter, c *plan.Component, _ *Component) {
	for _, b := range c.Grants {
		if g := &l.plan.Grants[b.Grant]; g.Kind == plan.GrantListen && (g.Address == "0.0.0.0" || g.Address == "::") {
			l.find(g.Position, "name one address, if one is enough", "%q listens on every address of the machine", c.Name)
		}
	}
}

func lintHostNetwork(l *linter, c *plan.Component, s *Component) {
	if c.HostNetwork {
		l.find(s.Network.Position, "name the addresses under grants: instead", "%q shares the machine's network, abstract unix sockets included", c.Name)
	}
}

func lintNetlink(l *linter, c *plan.Component, s *Component) {
	for _, use := range s.Syscalls {
		if use.Name.Value != "@netlink-route" {
			continue
		}
		network := "an empty network"
		if c.HostNetwork {
			network = "the machine's network"
		}
		l.find(use.Position, "remove it if the program runs without: holes are found there every year", "%q reaches the kernel's netlink code, of %s", c.Name, network)
	}
}

func lintPrivilegedCalls(l *linter, c *plan.Component, s *Component) {
	wide := map[string]bool{}
	for _, group := range []string{"privileged", "debug"} {
		wide["@"+group] = true
		for _, call := range callsOf[group] {
			wide[call] = true
		}
	}
	for _, use := range s.Syscalls {
		if name := use.Name.Value + use.Call.Call.Value; wide[name] {
			l.find(use.Position, "remove it, or say why in a comment", "%q may call %s, with which programs have broken out of walls", c.Name, name)
		}
	}
}

func lintOptional(l *linter, c *plan.Component, s *Component) {
	for _, wall := range s.Optional {
		l.find(wall.Position, "remove it where every machine has the wall: `sandbox doctor` says so", "%q starts without the wall %s where the kernel cannot build it", c.Name, wall.Value)
	}
}

// interpreters run whatever they read.
var interpreters = map[string]bool{"sh": true, "bash": true, "dash": true, "busybox": true, "perl": true, "ruby": true, "node": true, "awk": true, "mawk": true, "gawk": true, "env": true, "lua": true, "php": true}

func lintShell(l *linter, c *plan.Component, _ *Component) {
	for _, e := range c.Root {
		base := path.Base(e.Source)
		if e.Kind == plan.EntryBind && e.Access&plan.Execute != 0 && strings.HasPrefix(e.Reason, "files.execute") && (interpreters[base] || strings.HasPrefix(base, "python")) {
			l.find(e.Position, "name the programs that it starts, if they can be started without one", "%q may execute %s, which runs whatever it reads", c.Name, e.Source)
		}
	}
}

// lintPassedCode looks for helpers whose callers choose what runs in them, not
// only for what.
func lintPassedCode(l *linter, c *plan.Component, s *Component) {
	if c.Start != plan.OnExec {
		return
	}
	for _, r := range c.Replaces {
		base := path.Base(r.Program)
		if !interpreters[base] && !strings.HasPrefix(base, "python") || len(r.Arguments) > 1 || !contains(c.Pass.Arguments, "*") {
			continue // it is no interpreter, has a script of its own, or cannot be given any
		}
		l.find(s.Replaces[0].Path.Position, "write the arguments that it may get under pass: arguments:", "%q executes whatever its callers say: %s takes code as an argument", c.Name, r.Program)
	}
	if c.Pass.Descriptors&plan.PassMemory != 0 {
		l.find(s.Pass.Descriptors[0].Position, "leave memory out", "%q takes over memory of its callers, which can be executed", c.Name)
	}
}

func lintRootUser(l *linter, c *plan.Component, s *Component) {
	if s.User.IsSet() && c.Hosts.UID == 0 {
		l.find(s.User.Position, "leave user: out, or name a user of its own", "%q runs as root of the host", c.Name)
	}
}

func lintPython(l *linter, c *plan.Component, s *Component) {
	if !strings.HasPrefix(path.Base(c.Program), "python3") {
		return
	}
	for _, e := range c.Root {
		if e.Kind == plan.EntryBind && e.Dir && (strings.HasPrefix(e.Target, "/usr/lib/python3") || inside("/usr/lib/python3", e.Target)) {
			return
		}
	}
	at := c.Position
	if len(s.Command) > 0 {
		at = s.Command[0].Position
	}
	l.find(at, "add extends: python", "%q runs Python, whose standard library it does not see", c.Name)
}

// lintShownAndGranted looks for files: that say nothing, because the program's
// calls on those paths go to the grant.
func lintShownAndGranted(l *linter, c *plan.Component, _ *Component) {
	if !c.TransparentFiles {
		return
	}
	for _, e := range c.Root {
		if e.Kind != plan.EntryBind || e.Access&plan.Execute != 0 || !strings.HasPrefix(e.Reason, "files.") {
			continue
		}
		for _, b := range c.Grants {
			g := &l.plan.Grants[b.Grant]
			if g.Kind == plan.GrantDirectory && inside(e.Target, clean(g.Path)) || g.Kind == plan.GrantFile && e.Target == clean(g.Path) {
				l.find(e.Position, "remove it", "%s is shown by %s, but the grant %q answers for it", e.Target, e.Reason, g.Name)
			}
		}
	}
}
