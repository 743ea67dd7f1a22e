package policy

import (
	"path"
	"slices"
	"sort"
	"strings"

	"bulkhead/policy/plan"
)

// replacement is a program of the host in whose place a component runs.
type replacement struct {
	path      string // without symbolic links
	links     []link // on the way to it
	name      string // as the policy has it
	component string
	at        plan.Position
}

// replacements collects what on-exec components replace, before any root is
// made: what another component shows there is the stub. A program that one
// component names is not another's because a pattern of it matches too.
func (c *compiler) replacements() {
	named := map[string]string{} // program: the component that names it
	matched := map[string]string{}
	for i := range c.file.Components.Entries {
		entry := &c.file.Components.Entries[i]
		if s := &entry.Value; startOf(s) == plan.OnExec {
			if len(s.Replaces) == 0 {
				c.mistake(s.Start.Position, "write replaces: /usr/libexec/PROGRAM", "start: on-exec needs the programs in whose place %q runs", entry.Name)
			}
			c.replace(entry, named, named, false)
		} else {
			if len(s.Replaces) > 0 {
				c.mistake(s.Replaces[0].Path.Position, "write start: on-exec beside it", "replaces: is for components that start on exec")
			}
			if s.Pass.Position.Line > 0 {
				c.mistake(s.Pass.Position, "write start: on-exec beside it", "pass: is for components that start on exec")
			}
		}
	}
	for i := range c.file.Components.Entries {
		if entry := &c.file.Components.Entries[i]; startOf(&entry.Value) == plan.OnExec {
			c.replace(entry, matched, named, true)
		}
	}
	sort.Slice(c.replaced, func(i, j int) bool { return c.replaced[i].path < c.replaced[j].path })
}

// replace adds what a component's paths, or its patterns, stand for to taken;
// what others have before it stays theirs.
func (c *compiler) replace(entry *MapEntry[Component], taken, before map[string]string, patterns bool) {
	t := &rootTree{componentCompiler: &componentCompiler{compiler: c, name: entry.Name, at: entry.Position, source: &entry.Value}}
	for _, use := range entry.Value.Replaces {
		if isPattern(use.Path.Value) != patterns {
			continue
		}
		for _, name := range t.expand(use) {
			found := c.host.resolve(name)
			if found.err != nil || !found.info.Mode().IsRegular() || found.info.Mode()&0o111 == 0 {
				if !patterns {
					c.mistake(use.Path.Position, "name a program", "%s is not a file that can be executed", brief(name))
				}
				continue
			}
			if other, is := taken[found.real]; is && other != entry.Name {
				c.mistake(use.Path.Position, "let one of them replace it", "%s is replaced by %q already", brief(found.real), other)
			}
			if taken[found.real] != "" || before[found.real] != "" {
				continue
			}
			taken[found.real] = entry.Name
			c.replaced = append(c.replaced, replacement{found.real, found.links, name, entry.Name, use.Path.Position})
		}
	}
}

func (c *compiler) replacementOf(real string) *replacement {
	i := sort.Search(len(c.replaced), func(i int) bool { return c.replaced[i].path >= real })
	if i < len(c.replaced) && c.replaced[i].path == real {
		return &c.replaced[i]
	}
	return nil
}

// replaces says what runs in the place of each program, and shows it: the
// component's command, or without one the program itself.
func (t *rootTree) replaces(program string, arguments, scripts []string) []plan.Replaced {
	var all []plan.Replaced
	command := t.source.Command
	for i := range t.compiler.replaced {
		r := &t.compiler.replaced[i]
		if r.component != t.name {
			continue
		}
		runs, argv, interpreted, at := program, arguments, scripts, r.at
		if len(command) > 0 {
			at = command[0].Position
		} else {
			runs, argv, interpreted = t.interpreted(r.name, []string{r.name}, r.at)
		}
		if runs == "" {
			continue // reported
		}
		for _, script := range interpreted {
			t.bind(script, plan.Read, "command", at)
			t.permitted(script, plan.Read, at)
		}
		t.program(runs, "command", at)
		all = append(all, plan.Replaced{
			Path: r.path, Program: runs, Arguments: argv,
			// A script's interpreter never sees it, and a command with
			// arguments says itself who it is.
			Named: len(interpreted) == 0 && len(command) <= 1,
		})
	}
	return all
}

// splits puts the stub in the place of every program that another component
// replaces and that this one may execute: because may-start names the
// component, or because files.execute shows the program. It returns where the
// component's own program is.
func (t *rootTree) splits(component *plan.Component, program string) string {
	named := map[string]bool{}
	for _, name := range component.MayStart {
		named[name] = true
	}
	for i := range t.compiler.replaced {
		r := &t.compiler.replaced[i]
		if r.component == t.name || !named[r.component] && !t.executes(r.path) {
			continue
		}
		if program != "" && t.host.resolve(program).real == r.path {
			program = t.aside(r.path)
		}
		t.links(r.links, "replaced by "+r.component, r.at)
		t.entries[r.path] = &plan.Entry{Kind: plan.EntryStub, Target: r.path, Access: plan.Read | plan.Execute, Reason: "replaced by " + r.component, Position: r.at}
		component.Splits = append(component.Splits, plan.Split{Path: r.path, Component: r.component})
		if !contains(component.MayStart, r.component) {
			component.MayStart = append(component.MayStart, r.component)
		}
	}
	return program
}

// executes says whether files.execute shows a program.
func (t *rootTree) executes(real string) bool {
	for name := real; ; name = path.Dir(name) {
		if e := t.entries[name]; e != nil && e.Access&plan.Execute != 0 && strings.Contains(e.Reason, "files.execute") {
			return name == real || e.Dir
		}
		if name == "/" {
			return false
		}
	}
}

// aside shows a component's own program elsewhere, because where it is the
// component finds the stub: a daemon that executes itself again.
func (t *rootTree) aside(real string) string {
	target := "/.program/" + path.Base(real)
	t.add(plan.Entry{Kind: plan.EntryBind, Source: real, Target: target, Access: plan.Read | plan.Execute, Reason: "command", Position: t.at})
	return target
}

// passDefault are the kinds that pass where the policy says nothing. Memory
// is not among them: a program can be told to load code from it.
const passDefault = plan.PassFiles | plan.PassPipes | plan.PassSockets | plan.PassDevices

// steering are the variables by which a caller would choose what code a helper
// loads: what ld.so and libc ignore in programs with more rights than their
// caller (ld.so(8), "secure-execution mode"; glibc, unsecvars.h), and what
// interpreters read before their script (sudoers(5), env_delete).
var steering = []string{
	"GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LD_*", "LOCALDOMAIN", "LOCPATH",
	"MALLOC_*", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR",
	"BASHOPTS", "BASH_ENV", "BASH_FUNC_*", "ENV", "FPATH", "GLOBIGNORE", "IFS", "PS4", "SHELLOPTS", "ZDOTDIR",
	"JAVA_TOOL_OPTIONS", "LUA_*", "NODE_OPTIONS", "NODE_PATH", "PERL5*", "PERLIO*", "PERLLIB", "PHPRC", "PHP_INI_SCAN_DIR",
	"PYTHON*", "RUBYLIB", "RUBYOPT",
}

// pass says what reaches an on-exec component from its callers.
func (c *componentCompiler) pass(start plan.Start) plan.Pass {
	s := &c.source.Pass
	if start != plan.OnExec {
		return plan.Pass{}
	}
	result := plan.Pass{
		Arguments:     passPatterns(s.Arguments),
		Environment:   passPatterns(s.Environment),
		Withheld:      steering,
		Descriptors:   passDefault,
		KeepDirectory: c.source.Directory.IsSet(),
		KeepUmask:     c.source.Umask.IsSet(),
	}
	for _, pattern := range s.Environment.Patterns {
		if strings.Contains(pattern.Value, "=") {
			c.mistake(pattern.Position, "write the name alone", "%q is no pattern of a variable's name", brief(pattern.Value))
		}
	}
	if len(s.Descriptors) > 0 {
		result.Descriptors = 0
	}
	for _, word := range s.Descriptors {
		if word.Value == "none" && len(s.Descriptors) > 1 {
			c.mistake(word.Position, "keep one of them", "none and other kinds of descriptors")
		}
		if i := slices.Index(plan.PassWords, word.Value); i >= 0 {
			result.Descriptors |= 1 << i
		}
	}
	for _, directory := range s.Directories {
		found := c.host.resolve(directory.Value)
		switch {
		case found.err != nil:
			c.mistake(directory.Position, "", "%s: %s", brief(directory.Value), reason(found.err))
		case !found.info.IsDir():
			c.mistake(directory.Position, "name a directory", "%s is not a directory", brief(directory.Value))
		default:
			result.Directories = append(result.Directories, found.real)
		}
	}
	return result
}

func passPatterns(r PassRule) []string {
	switch {
	case r.Word.Value == "none":
		return nil
	case len(r.Patterns) > 0:
		return texts(r.Patterns)
	}
	return []string{"*"}
}
