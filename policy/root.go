package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"bulkhead/policy/plan"
)

// Devices that every program may expect, and that give nothing away.
var harmlessDevices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// rootTree collects the file system of one component.
type rootTree struct {
	*componentCompiler
	entries map[string]*plan.Entry // by target
	hosts   plan.HostIDs           // who the component is on the host
}

// root returns the program that really runs and everything that exists for it.
func (c *componentCompiler) root(component *plan.Component) (program string, arguments []string, root []plan.Entry) {
	t := &rootTree{componentCompiler: c, entries: map[string]*plan.Entry{}, hosts: component.Hosts}
	files := &c.source.Files
	program, arguments, scripts := c.program()
	if component.Start == plan.OnExec {
		component.Replaces = t.replaces(program, arguments, scripts)
		if program == "" && len(component.Replaces) > 0 {
			program, arguments = component.Replaces[0].Program, component.Replaces[0].Arguments
		}
		if len(component.Replaces) == 0 && len(c.source.Replaces) > 0 {
			c.warn(c.source.Replaces[0].Path.Position, "", "there is nothing that %q replaces, so nothing will run in it", c.name)
			program, arguments = "/", []string{"/"}
		}
	} else if program != "" {
		at := c.source.Command[0].Position
		for _, script := range scripts {
			t.bind(script, plan.Read, "command", at)
			t.permitted(script, plan.Read, at)
		}
		t.program(program, "command", at)
	}
	t.listed(files.Read, plan.Read, "files.read")
	t.listed(files.Write, plan.Read|plan.Write, "files.write")
	t.programs(files.Execute)
	t.libraries(files.Libraries)
	t.temporary(files.Temporary)
	for _, name := range harmlessDevices {
		t.add(plan.Entry{Kind: plan.EntryDevice, Source: name, Target: name, Access: plan.Read | plan.Write, Reason: "every component has it", Position: c.at})
	}
	t.devices(files.Devices)
	t.contents(&files.Content)
	t.accounts(component.User, component.Hosts.Become)
	if found := c.host.resolve(linkerCache); found.err == nil {
		t.bind(linkerCache, plan.Read, "ld.so reads it", c.at)
	}
	t.standIns(component)
	if d := c.source.Directory; d.IsSet() && clean(d.Value) != "/" && !t.shown(clean(d.Value)) {
		t.add(plan.Entry{Kind: plan.EntryDirectory, Target: clean(d.Value), Reason: "directory", Position: d.Position})
	}
	program = t.splits(component, program)
	t.hidden(files.Hidden)
	return program, arguments, t.sorted()
}

// add enters an entry, or widens the one at its target.
func (t *rootTree) add(e plan.Entry) {
	before, known := t.entries[e.Target]
	if !known {
		t.entries[e.Target] = &e
		return
	}
	if before.Kind != e.Kind {
		if e.Position.Line > 0 && (e.Kind == plan.EntryTemporary || before.Kind == plan.EntryTemporary) {
			t.mistake(e.Position, "keep one of them", "%s is two things at once: %s and %s", e.Target, before.Reason, e.Reason)
		}
		return
	}
	if before.Access|e.Access == before.Access {
		return
	}
	both := before.Access | e.Access
	if both&plan.Write != 0 && both&plan.Execute != 0 {
		t.mistake(e.Position, "what can be written must not be executed", "%s would be writable (%s) and executable (%s)", e.Target, before.Reason, e.Reason)
		return
	}
	before.Access = both
	before.Reason += ", " + e.Reason
	before.Position = e.Position
}

// bind shows a file or directory of the host, and the symbolic links on the
// way to it.
func (t *rootTree) bind(name string, access plan.Access, why string, at plan.Position) {
	found := t.host.resolve(name)
	if found.err != nil {
		t.mistake(at, "", "%s: %s", brief(name), reason(found.err))
		return
	}
	t.links(found.links, why, at)
	if found.real == "/" {
		t.mistake(at, "name what the component needs", "the whole file system of the host cannot be shown")
		return
	}
	if inside(found.real, "/proc") || inside(found.real, "/sys") {
		t.mistake(at, "files.proc: full shows the system's part of /proc", "%s is not a file system that can be shown in part", brief(name))
		return
	}
	t.add(plan.Entry{Kind: plan.EntryBind, Source: found.real, Target: found.real, Dir: found.info.IsDir(), Access: access, Reason: why, Position: at})
}

func (t *rootTree) links(links []link, why string, at plan.Position) {
	for _, l := range links {
		t.add(plan.Entry{Kind: plan.EntrySymlink, Source: l.text, Target: l.at, Reason: why, Position: at})
	}
}

// program shows a program with its interpreter and libraries.
func (t *rootTree) program(name, why string, at plan.Position) {
	t.bind(name, plan.Read|plan.Execute, why, at)
	t.needs(name, at)
}

// needs shows what ld.so loads for a program or library.
func (t *rootTree) needs(name string, at plan.Position) {
	result := t.linker.closure(name)
	if result.err != nil {
		hint := ""
		if errors.Is(result.err, errNotELF) {
			hint = "a program is an ELF file, or a script that starts with #!"
		}
		t.mistake(at, hint, "%s: %s", brief(name), reason(result.err))
		t.problems[len(t.problems)-1].Status = notExecutable
		return
	}
	why := "needed by " + name
	if result.interpreter != "" {
		// The kernel opens the interpreter as it opens a program.
		t.bind(result.interpreter, plan.Read|plan.Execute, why, at)
	}
	for _, library := range result.libraries {
		t.bind(library, plan.Read, why, at)
	}
}

// expand returns the paths that an item of files: stands for. One that is not
// there is a mistake unless it is optional.
func (t *rootTree) expand(use PathUse) []string {
	name := use.Path.Value
	if !use.Path.IsSet() {
		return nil // what is wrong with it is reported already
	}
	if isPattern(name) {
		found := t.host.glob(name)
		if len(found) == 0 && !use.Optional.Value {
			t.mistake(use.Path.Position, optionalHint(name), "nothing matches %s", brief(name))
		}
		return found
	}
	found := t.host.resolve(name)
	if found.err == nil {
		return []string{clean(name)}
	}
	if !use.Optional.Value {
		hint := optionalHint(name)
		if near := t.neighbour(name); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		t.mistake(use.Path.Position, hint, "%s: %s", brief(name), reason(found.err))
	}
	return nil
}

func optionalHint(name string) string {
	return "write {path: " + brief(name) + ", optional: true} if it may be missing"
}

// neighbour returns a file with nearly that name.
func (t *rootTree) neighbour(name string) string {
	directory := path.Dir(clean(name))
	entries, err := t.host.ReadDir(directory)
	if err != nil {
		return ""
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if near := nearest(path.Base(name), names); near != "" && near != path.Base(name) {
		return path.Join(directory, near)
	}
	return ""
}

func (t *rootTree) listed(uses []PathUse, access plan.Access, why string) {
	for _, use := range uses {
		for _, name := range t.expand(use) {
			t.bind(name, access, why, use.Path.Position)
			t.permitted(name, access, use.Path.Position)
		}
	}
}

// programs shows files.execute: programs, scripts, and directories of them.
func (t *rootTree) programs(uses []PathUse) {
	for _, use := range uses {
		for _, name := range t.expand(use) {
			found := t.host.resolve(name)
			if found.err == nil && found.info.IsDir() {
				t.directoryOfPrograms(name, found.real, use)
				continue
			}
			if other := t.compiler.replacementOf(found.real); other != nil && other.component != t.name {
				t.bind(name, plan.Read|plan.Execute, "files.execute", use.Path.Position) // splits puts the stub there
				continue
			}
			t.executable(name, use)
		}
	}
}

func (t *rootTree) executable(name string, use PathUse) {
	at := use.Path.Position
	for range 4 {
		interpreter, argument, isScript := t.shebang(t.host.resolve(name).real)
		if !isScript {
			break
		}
		t.bind(name, plan.Read|plan.Execute, "files.execute", at)
		name = clean(interpreter)
		if behindEnv := t.lookPath(argument); name == "/usr/bin/env" && behindEnv != "" {
			t.program(behindEnv, "files.execute", at) // env starts it
		}
	}
	t.program(name, "files.execute", at)
}

func (t *rootTree) directoryOfPrograms(name, real string, use PathUse) {
	t.bind(name, plan.Read|plan.Execute, "files.execute", use.Path.Position)
	entries, err := t.host.ReadDir(real)
	if err != nil {
		t.mistake(use.Path.Position, "", "%s: %s", brief(name), reason(err))
		return
	}
	for _, entry := range entries {
		file := path.Join(real, entry.Name())
		found := t.host.resolve(file)
		if found.err != nil || !found.info.Mode().IsRegular() || found.info.Mode()&0o111 == 0 {
			continue
		}
		if other := t.compiler.replacementOf(found.real); other != nil && other.component != t.name {
			continue // here it is the stub, which needs nothing
		}
		if interpreter, _, isScript := t.shebang(found.real); isScript {
			if t.host.resolve(interpreter).err == nil {
				t.program(clean(interpreter), "files.execute", use.Path.Position)
			}
			continue
		}
		if _, err := t.linker.image(found.real); err == nil {
			t.needs(file, use.Path.Position)
		}
	}
}

// libraries shows shared objects that a program opens by itself (plug-ins,
// extension modules), with what they need.
func (t *rootTree) libraries(uses []PathUse) {
	for _, use := range uses {
		for _, name := range t.expand(use) {
			t.bind(name, plan.Read, "files.libraries", use.Path.Position)
			if found := t.host.resolve(name); found.err == nil && found.info.Mode().IsRegular() {
				t.needs(name, use.Path.Position)
			}
		}
	}
}

// place adds the symbolic links on the way to a path of which the last part
// need not exist on the host, and returns it without them.
func (t *rootTree) place(name string, why string, at plan.Position) string {
	directory, rest := clean(name), ""
	for {
		found := t.host.resolve(directory)
		if found.err == nil {
			t.links(found.links, why, at)
			return path.Join(found.real, rest)
		}
		rest = path.Join(path.Base(directory), rest)
		directory = path.Dir(directory)
	}
}

func (t *rootTree) temporary(uses []TemporaryUse) {
	for _, use := range uses {
		at := use.Path.Position
		if !use.Path.IsSet() {
			continue // what is wrong with it is reported already
		}
		target := t.place(use.Path.Value, "files.temporary", at)
		if target == "/" || inside(target, "/proc") || inside(target, "/dev") && target != "/dev/shm" {
			t.mistake(at, "use /tmp or a directory of the program", "%s cannot be temporary", brief(use.Path.Value))
			continue
		}
		if use.Size.IsSet() && use.Size.Value == 0 {
			t.mistake(use.Size.Position, "write 1M or more", "a temporary directory of no size holds nothing")
		}
		t.add(plan.Entry{Kind: plan.EntryTemporary, Target: target, Dir: true, Access: plan.Read | plan.Write,
			Size: uint64(use.Size.Or(defaultTemporary)), Mode: uint32(use.Mode.Or(0o700)), Reason: "files.temporary", Position: at})
	}
}

func (t *rootTree) devices(uses []PathUse) {
	for _, use := range uses {
		for _, name := range t.expand(use) {
			found := t.host.resolve(name)
			if found.info.Mode()&fs.ModeDevice == 0 {
				t.mistake(use.Path.Position, "write it under files.read or files.write", "%s is not a device", brief(name))
				continue
			}
			if found.real == "/dev/ptmx" || found.real == "/dev/pts/ptmx" {
				// Terminals are made in a file system, /dev/pts, that no compartment has.
				t.mistake(use.Path.Position, "remove it, and let the program do without (as ssh -T does); output: inherit lets it use the terminal of sandbox run",
					"a component makes no terminals, which is what %s is for", brief(name))
				continue
			}
			t.links(found.links, "files.devices", use.Path.Position)
			t.add(plan.Entry{Kind: plan.EntryDevice, Source: found.real, Target: found.real, Access: plan.Read | plan.Write, Reason: "files.devices", Position: use.Path.Position})
		}
	}
}

func (t *rootTree) hidden(uses []PathUse) {
	for _, use := range uses {
		for _, name := range t.expand(use) {
			found := t.host.resolve(name)
			if !t.shown(found.real) {
				t.warn(use.Path.Position, "remove it", "%s is not shown, so it need not be hidden", brief(name))
				continue
			}
			if e := t.entries[found.real]; e != nil && e.Kind == plan.EntryBind {
				t.mistake(use.Path.Position, "keep one of them", "%s is hidden and shown (%s)", brief(name), e.Reason)
				continue
			}
			t.add(plan.Entry{Kind: plan.EntryHidden, Target: found.real, Dir: found.info.IsDir(), Reason: "files.hidden", Position: use.Path.Position})
		}
	}
}

// standIns makes the empty directories that stand for granted ones in a
// component whose programs open them by their paths, and for those that granted
// files are in: libraries look at each part of a path.
func (t *rootTree) standIns(component *plan.Component) {
	if !component.TransparentFiles {
		return
	}
	for _, b := range component.Grants {
		g := &t.grants[b.Grant]
		name, why := clean(g.Path), "stands for the grant "+g.Name
		switch g.Kind {
		case plan.GrantDirectory:
		case plan.GrantFile:
			name, why = path.Dir(name), "the grant "+g.Name+" is in it"
		default:
			continue
		}
		target := t.place(name, why, g.Position)
		if hides := t.temporaryOver(target); hides != "" && g.Kind == plan.GrantDirectory {
			t.mistake(g.Position, "put it somewhere else, or name another temporary directory",
				"%s would be hidden from %q: %s is temporary, and empty for each worker", g.Path, t.name, hides)
			continue
		}
		if target == "/" || inside(target, "/proc") || inside(target, "/sys") || t.shown(target) {
			continue
		}
		t.add(plan.Entry{Kind: plan.EntryDirectory, Target: target, Reason: why, Position: g.Position})
	}
}

// temporaryOver is the temporary directory that a path lies in, "" for none.
func (t *rootTree) temporaryOver(name string) string {
	for ; name != "/"; name = path.Dir(name) {
		if e := t.entries[name]; e != nil && e.Kind == plan.EntryTemporary {
			return name
		}
	}
	return ""
}

// contents makes the files whose text stands in the policy.
func (t *rootTree) contents(files *Map[Text]) {
	for _, file := range files.Entries {
		target := t.place(file.Name, "files.content", file.Position)
		if found := t.host.resolve(file.Name); found.err == nil && found.info.IsDir() || inside(target, "/proc") || inside(target, "/dev") || inside(target, "/sys") {
			t.mistake(file.Position, "name a file", "%s cannot have a content", brief(file.Name))
			continue
		}
		if before := t.entries[target]; before != nil {
			t.mistake(file.Position, "keep one of them", "%s is two things at once: %s and files.content", target, before.Reason)
			continue
		}
		t.add(plan.Entry{Kind: plan.EntryData, Target: target, Content: file.Value.Value, Mode: 0o444, Reason: "files.content", Position: file.Position})
	}
}

// accounts generates the files that say who is who, with the names that the
// component may know.
func (t *rootTree) accounts(who plan.User, others []plan.Account) {
	const nologin = "/usr/sbin/nologin"
	passwd := fmt.Sprintf("root:x:0:0:root:/:%s\n", nologin)
	group := "root:x:0:\n"
	if who.UID != 0 {
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:%s\n", who.Name, who.UID, who.GID, who.Home, nologin)
	}
	if who.GID != 0 {
		group += fmt.Sprintf("%s:x:%d:\n", who.Name, who.GID)
	}
	known := map[string]bool{who.Name: true}
	for _, other := range others {
		if known[other.Name] {
			continue
		}
		known[other.Name] = true
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:%s\n", other.Name, other.UID, other.GID, other.Home, nologin)
		group += fmt.Sprintf("%s:x:%d:\n", other.Name, other.GID)
	}
	for _, gid := range who.Groups {
		group += fmt.Sprintf("group%d:x:%d:%s\n", gid, gid, who.Name)
	}
	passwd += fmt.Sprintf("nobody:x:65534:65534::/:%s\n", nologin)
	group += "nogroup:x:65534:\n"
	for _, file := range []struct{ target, content string }{
		{"/etc/passwd", passwd},
		{"/etc/group", group},
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
		{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
	} {
		if t.shown(file.target) {
			continue // files: brings the real one
		}
		t.add(plan.Entry{Kind: plan.EntryData, Target: file.target, Content: file.content, Mode: 0o444, Reason: "generated", Position: t.at})
	}
}

// shown says whether a bind or a temporary directory shows a path.
func (t *rootTree) shown(name string) bool {
	for ; ; name = path.Dir(name) {
		if e := t.entries[name]; e != nil && (e.Kind == plan.EntryBind || e.Kind == plan.EntryTemporary || e.Kind == plan.EntryStub) {
			return true
		}
		if name == "/" {
			return false
		}
	}
}

// above returns the nearest entry above a target whose content covers it.
func (t *rootTree) above(target string) *plan.Entry {
	for target != "/" {
		target = path.Dir(target)
		if e := t.entries[target]; e != nil && e.Dir {
			return e
		}
	}
	return nil
}

// sorted returns the entries in order of their targets, without those that a
// directory above shows already.
func (t *rootTree) sorted() []plan.Entry {
	var result []plan.Entry
	for _, e := range t.entries {
		above := t.above(e.Target)
		if above != nil && above.Kind == plan.EntryBind {
			switch e.Kind {
			case plan.EntrySymlink, plan.EntryDirectory:
				continue
			case plan.EntryBind:
				narrows := strings.HasPrefix(e.Reason, "files.read") && above.Access&plan.Write != 0
				if e.Access|above.Access == above.Access && !narrows {
					continue
				}
			case plan.EntryData:
				t.mistake(e.Position, "choose a directory that files: does not name", "%s cannot be put into %s, which the host shows", e.Target, above.Target)
			case plan.EntryTemporary:
				if t.host.resolve(e.Target).err != nil {
					t.mistake(e.Position, "make the directory on the host", "%s does not exist, and nothing can be put into %s, which the host shows", e.Target, above.Target)
				}
			}
		}
		if above != nil && above.Kind == plan.EntryTemporary && e.Kind != plan.EntryTemporary {
			t.mistake(e.Position, "put it somewhere else, or name another temporary directory", "%s would be hidden: %s is temporary, and empty for each worker", e.Target, above.Target)
		}
		result = append(result, *e)
	}
	sort.Slice(result, func(i, j int) bool { return result[i].Target < result[j].Target })
	return result
}
