package policy

import (
	"io/fs"
	"path"
	"sort"
	"strings"

	"bulkhead/policy/plan"
)

// grant compiles one grant of the policy.
func (c *compiler) grant(entry *MapEntry[Grant]) plan.Grant {
	s := &entry.Value
	result := plan.Grant{Name: entry.Name, Position: entry.Position}
	kinds := []struct {
		name string
		text Text
		kind plan.GrantKind
	}{
		{"listen", s.Listen, plan.GrantListen}, {"connect", s.Connect, plan.GrantConnect}, {"file", s.File, plan.GrantFile},
		{"directory", s.Directory, plan.GrantDirectory}, {"device", s.Device, plan.GrantDevice},
	}
	word := ""
	for _, k := range kinds {
		switch {
		case !k.text.IsSet():
		case result.Kind != 0:
			c.mistake(k.text.Position, "make two grants of it", "the grant %q is %s and %s at once", entry.Name, word, k.name)
		default:
			result.Kind, result.Path, word = k.kind, k.text.Value, k.name
		}
	}
	if result.Kind == 0 {
		// A kind with a mistake in it is reported already.
		if !c.policy.tree.get("grants").get(entry.Name).has("listen", "connect", "file", "directory", "device") {
			c.mistake(s.Position, "add listen:, connect:, file:, directory: or device:", "the grant %q does not say what it grants", entry.Name)
		}
		return result
	}
	c.grantKeys(s, &result, word)
	switch result.Kind {
	case plan.GrantListen:
		c.socket(&result, s.Listen, true)
		result.Backlog = s.Backlog.Or(defaultBacklog)
		result.Mode = uint32(s.Mode.Or(defaultFileMode))
		if result.Network == "udp" {
			result.Answers = plan.AnswerAskers
			if s.Answers.Value == "anyone" {
				result.Answers = plan.AnswerAnyone
			}
		}
	case plan.GrantConnect:
		c.socket(&result, s.Connect, false)
	default:
		result.Path = clean(result.Path)
		result.Access = grantAccess(s.Access.Or("read"))
		result.Create = s.Create.Value
		result.Mode = uint32(s.Mode.Or(defaultFileMode))
		c.grantPath(s, &result)
	}
	return result
}

// grantKeys refuses keys that mean nothing for the kind.
func (c *compiler) grantKeys(s *Grant, g *plan.Grant, word string) {
	files := g.Kind == plan.GrantFile || g.Kind == plan.GrantDirectory || g.Kind == plan.GrantDevice
	unix := g.Kind == plan.GrantListen && (len(s.Listen.Value) > 4 && s.Listen.Value[:4] == "unix")
	for _, key := range []struct {
		name  string
		at    plan.Position
		means bool
	}{
		{"access", s.Access.Position, files},
		{"create", s.Create.Position, g.Kind == plan.GrantFile},
		{"mode", s.Mode.Position, g.Kind == plan.GrantFile || g.Kind == plan.GrantDirectory || unix},
		{"backlog", s.Backlog.Position, g.Kind == plan.GrantListen},
		{"answers", s.Answers.Position, g.Kind == plan.GrantListen && strings.HasPrefix(s.Listen.Value, "udp:")},
	} {
		if key.at.Line > 0 && !key.means {
			c.mistake(key.at, "remove it", "%s: means nothing for %s: %s", key.name, word, brief(g.Path))
		}
	}
}

func grantAccess(word string) plan.Access {
	return map[string]plan.Access{"read": plan.Read, "write": plan.Write, "append": plan.Append, "read-write": plan.Read | plan.Write}[word]
}

func (c *compiler) socket(g *plan.Grant, text Text, listen bool) {
	g.Path = ""
	a, wrong, hint := parseAddress(text.Value, listen)
	if wrong != "" {
		c.mistake(text.Position, hint, "%s", wrong)
		return
	}
	g.Network, g.Address, g.Host, g.Port = a.network, a.address, a.host, a.port
	if listen && path.IsAbs(a.address) {
		// The socket is made at start; a connection's may come later.
		if found := c.host.resolve(path.Dir(a.address)); found.err != nil {
			c.mistake(text.Position, "make the directory, or correct the path", "the directory %s: %s", path.Dir(a.address), reason(found.err))
		}
	}
}

func (c *compiler) grantPath(s *Grant, g *plan.Grant) {
	at := s.File.Position
	switch g.Kind {
	case plan.GrantDirectory:
		at = s.Directory.Position
		if g.Access&plan.Append != 0 || g.Access == plan.Write {
			c.mistake(s.Access.Position, "write read or read-write", "a directory is granted for read or read-write")
		}
	case plan.GrantDevice:
		at = s.Device.Position
	}
	found := c.host.resolve(g.Path)
	if found.err != nil {
		if g.Kind == plan.GrantFile && g.Create {
			if above := c.host.resolve(path.Dir(g.Path)); above.err != nil {
				c.mistake(at, "make the directory", "the directory %s: %s", path.Dir(g.Path), reason(above.err))
			}
			return
		}
		hint := ""
		if g.Kind == plan.GrantFile && g.Access != plan.Read {
			hint = "write create: true beside it if it is to be made"
		}
		c.mistake(at, hint, "%s: %s", brief(g.Path), reason(found.err))
		return
	}
	mode := found.info.Mode()
	switch {
	case g.Kind == plan.GrantDirectory && !mode.IsDir():
		c.mistake(at, "write file: instead of directory:", "%s is not a directory", brief(g.Path))
	case g.Kind == plan.GrantFile && mode.IsDir():
		c.mistake(at, "write directory: instead of file:", "%s is a directory", brief(g.Path))
	case g.Kind == plan.GrantFile && mode&fs.ModeDevice != 0:
		c.mistake(at, "write device: instead of file:", "%s is a device", brief(g.Path))
	case g.Kind == plan.GrantDevice && mode&fs.ModeDevice == 0:
		c.mistake(at, "write file: instead of device:", "%s is not a device", brief(g.Path))
	case g.Kind == plan.GrantFile && g.Create && g.Access == plan.Read:
		c.warn(s.Create.Position, "write access: write, append or read-write", "a file that is only read need not be made")
	default:
		c.ownToGrant(g, found, at)
	}
}

// firstNumber is the first descriptor after standard error: LISTEN_FDS of
// sd_listen_fds(3) start there too.
const firstNumber = 3

// bindings gives the component its grants and decides their numbers: listening
// sockets come first, as LISTEN_FDS has them, then files and devices.
// Connections and directories are for requests: a connection is made when it
// is wanted, and descriptors of directories are never handed out.
func (c *componentCompiler) bindings(start plan.Start) []plan.Binding {
	var bindings []plan.Binding
	place := map[string]int{} // grant: index in bindings
	var uses []*GrantUse
	numbers := map[int]string{}
	for i := range c.source.Grants {
		use := &c.source.Grants[i]
		name := use.Name.Value
		index := -1
		for g := range c.grants {
			if c.grants[g].Name == name {
				index = g
			}
		}
		if index < 0 {
			c.mistake(use.Name.Position, suggestion(name, c.file.Grants.Names()), "no grant is named %q", name)
			continue
		}
		c.used[name] = true
		c.checkUse(use, &c.grants[index], start)
		if before, twice := place[name]; twice {
			if uses[before].Name.Position.File == use.Name.Position.File {
				c.mistake(use.Name.Position, "keep one of them", "the grant %q stands here twice", name)
			}
			uses[before] = use // the extending file's word
			continue
		}
		place[name] = len(bindings)
		bindings = append(bindings, plan.Binding{Grant: index, Number: -1})
		uses = append(uses, use)
	}
	for i, use := range uses {
		if !use.Setting.Number.IsSet() {
			continue
		}
		number := use.Setting.Number.Value
		if other, taken := numbers[number]; taken {
			c.mistake(use.Setting.Number.Position, "choose another number", "descriptor %d is the grant %q", number, other)
		}
		numbers[number] = use.Name.Value
		bindings[i].Number = number
	}
	order := make([]int, len(bindings))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool {
		return c.grants[bindings[order[a]].Grant].Kind == plan.GrantListen && c.grants[bindings[order[b]].Grant].Kind != plan.GrantListen
	})
	next := firstNumber
	for _, i := range order {
		if bindings[i].Number >= 0 || !c.atStart(uses[i], c.grants[bindings[i].Grant].Kind) {
			continue
		}
		for numbers[next] != "" {
			next++
		}
		bindings[i].Number = next
		numbers[next] = uses[i].Name.Value
	}
	if start == plan.PerConnection {
		c.checkConnection(bindings)
	}
	return bindings
}

func (c *componentCompiler) atStart(use *GrantUse, kind plan.GrantKind) bool {
	return use.Setting.AtStart.Or(kind != plan.GrantConnect && kind != plan.GrantDirectory)
}

func (c *componentCompiler) checkUse(use *GrantUse, g *plan.Grant, start plan.Start) {
	number, atStart := use.Setting.Number, use.Setting.AtStart
	switch {
	case g.Kind == plan.GrantDirectory && (number.IsSet() || atStart.Value):
		at := number.Position
		if !number.IsSet() {
			at = atStart.Position
		}
		c.mistake(at, "leave it out: the program asks for the directory's files by name", "a directory is never handed out as a descriptor")
	case number.IsSet() && atStart.IsSet() && !atStart.Value:
		c.mistake(number.Position, "keep one of them", "a grant that is not there at start has no number")
	case number.IsSet() && number.Value < firstNumber && start != plan.PerConnection:
		c.mistake(number.Position, "write a number from 3 on", "descriptor %d is standard input or output", number.Value)
	}
}

func (c *componentCompiler) checkConnection(bindings []plan.Binding) {
	for _, b := range bindings {
		if g := &c.grants[b.Grant]; g.Kind == plan.GrantListen && b.Number >= 0 {
			if g.Network == "udp" || g.Network == "unix-datagram" {
				c.mistake(c.source.Start.Position, "use a tcp: or unix: grant", "%q has no connections to start workers for", g.Name)
			}
			return
		}
	}
	c.mistake(c.source.Start.Position, "name a listening grant under grants:", "start: per-connection needs a listening socket")
}

// transparent says whether the program's own calls on sockets, and on files,
// are answered out of its grants. Sockets are by default: a program that is not
// changed cannot have its network otherwise. Files are where the policy says
// so: from then on every path that the program opens, its libraries' too, takes
// a round trip to the monitor.
func (c *componentCompiler) transparent(start plan.Start) (sockets, files bool) {
	sockets, files = c.answerable(start)
	host, written := c.source.Network.Value == "host", c.source.Transparent
	if written.Value && host && !files {
		c.mistake(written.Position, "remove one of them", "a component with network: host makes its own sockets")
	}
	if written.Value && !sockets && !files {
		c.warn(written.Position, "remove it, or name a grant", "transparent: has no grant to answer from")
	}
	return written.Or(true) && sockets && !host, written.Value && files
}

// answerable says whether there are grants out of which calls on sockets, and on
// files, could be answered.
func (c *componentCompiler) answerable(start plan.Start) (sockets, files bool) {
	for _, use := range c.source.Grants {
		for g := range c.grants {
			if c.grants[g].Name != use.Name.Value {
				continue
			}
			// A per-connection worker gets connections of what it has at
			// start, so it binds only what it has not.
			listens := c.grants[g].Kind == plan.GrantListen && (start != plan.PerConnection || !c.atStart(&use, plan.GrantListen))
			sockets = sockets || c.grants[g].Kind == plan.GrantConnect || listens
			files = files || c.grants[g].Kind == plan.GrantFile || c.grants[g].Kind == plan.GrantDirectory
		}
	}
	return sockets, files
}
