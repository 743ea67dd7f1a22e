package learn

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// nature chooses the base profile that is nearest to what was seen, and the
// keys that follow from it.
func (c *component) nature() {
	c.tool = c.replaces == ""
	for _, run := range c.runs {
		c.tool = c.tool && !run.Stopped && !c.listens
	}
	for _, run := range c.runs {
		if run.Background && c.replaces == "" {
			c.note("it goes into the background, and a component that does has ended: let it stay in the foreground")
		}
	}
	if c.isPython() {
		c.extends = append(c.extends, "python")
	}
	switch {
	case c.listens:
		c.extends = append(c.extends, "network-daemon")
	case c.reachesNetwork():
		c.extends = append(c.extends, "client")
	case c.tool && c.usesTerminal():
		c.extends = append(c.extends, "cli-tool")
	}
	c.replaced = len(c.extends) > 0 && !slices.Equal(c.extends, []string{"python"})
	if c.tool && !slices.Contains(c.extends, "cli-tool") {
		c.setting("output: inherit", "it ended by itself: a tool, with its caller's input and output")
		c.setting("restart: never", "")
	}
	if c.replaces == "" {
		c.inherit() // a helper has what its caller passes
	}
}

func (c *component) setting(text, comment string) {
	c.settings = append(c.settings, &line{text: text, comment: comment})
}

func (c *component) isPython() bool {
	for name := range c.program.Paths {
		// Its own standard library, wherever its program has its name from.
		if strings.HasPrefix(name, "/usr/lib/python3.") {
			return true
		}
	}
	return false
}

func (c *component) reachesNetwork() bool {
	for name := range c.program.Sockets {
		if strings.HasPrefix(name, "connect tcp:") || strings.HasPrefix(name, "connect udp:") || strings.HasPrefix(name, "send udp:") {
			return true
		}
	}
	return false
}

// usesTerminal says whether it set a terminal's modes, as @terminal allows.
func (c *component) usesTerminal() bool {
	for name := range c.program.Paths {
		if strings.Contains(name, "/terminfo/") {
			return true
		}
	}
	return false
}

// notInherited are variables of a login, not of a program's.
var notInherited = map[string]bool{"_": true, "SHLVL": true, "OLDPWD": true, "PWD": true, "MAIL": true, "LOGNAME": true, "USER": true, "SHELL": true,
	"HISTFILE": true, "LS_COLORS": true, "WINDOWID": true, "DISPLAY": true, "PS1": true, "PATH_INFO": false}

func (c *component) inherit() {
	names := map[string]bool{}
	left := 0
	for _, run := range c.runs {
		for _, name := range run.Environment {
			switch {
			case !variableName(name):
			case notInherited[name], strings.HasPrefix(name, "SSH_"), strings.HasPrefix(name, "SUDO_"), strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "DBUS_"):
				left++
			default:
				names[name] = true
			}
		}
	}
	c.inherited = sortedKeys(names)
}

func variableName(name string) bool {
	for i, r := range name {
		if !(r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || i > 0 && r >= '0' && r <= '9') {
			return false
		}
	}
	return name != ""
}

// sockets makes grants of what was listened on and connected to.
func (c *component) sockets() {
	listens, connects := 0, 0
	for _, text := range sortedKeys(c.program.Sockets) {
		count := c.program.Sockets[text]
		verb, address, _ := strings.Cut(text, " ")
		address, chosen := strings.CutSuffix(address, " chosen")
		comment := seenTimes(count)
		switch verb {
		case "listen":
			if c.listens = true; chosen {
				c.note("it listens on a port of the kernel's choice (%s), which no grant can name", address)
				continue
			}
			if c.granted("listen", address) {
				continue
			}
			listens++
			c.grant(numbered(c.name, listens), fmt.Sprintf("{listen: %q}", address), comment)
		case "connect", "send":
			if strings.HasSuffix(address, ":0") {
				continue // asks the kernel which address of its own it would use
			}
			if c.granted("connect", address) {
				continue
			}
			connects++
			c.grant(numbered(c.name+"-to", connects), fmt.Sprintf("{connect: %q}", address), comment)
		}
	}
}

func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "-" + strconv.Itoa(n)
}

// granted says whether the base has that grant already, or another verb has.
func (c *component) granted(verb, address string) bool {
	for _, g := range c.draft.grants {
		if strings.HasPrefix(g.text, g.name+": {"+verb+": "+strconv.Quote(address)) {
			if !slices.Contains(c.grants, g.name) {
				c.grants = append(c.grants, g.name)
			}
			return true
		}
	}
	return c.baseGrants(verb, address)
}

func (c *component) grant(name, text, comment string) {
	for taken := true; taken; {
		taken = false
		for _, g := range c.draft.grants {
			if g.name == name {
				name, taken = name+"-more", true
			}
		}
	}
	g := &grant{name: name, line: line{text: name + ": " + text, comment: comment}}
	c.draft.grants = append(c.draft.grants, g)
	c.grants = append(c.grants, name)
}

// identity decides who it runs as: whom it became, else whom it was started
// as where it needs files that not everybody may read or write.
func (c *component) identity() {
	if c.options.Base != "" {
		return
	}
	own, _ := c.host.EffectiveIDs()
	if own != 0 {
		return // an ordinary user's are that user where they have to be (policy/ordinary.go)
	}
	start := c.startedAs()
	became := c.became()
	switch {
	case start != 0:
		c.runsAs(start, "whom it was started as")
	case became != 0:
		c.runsAs(became, "whom it changes to")
		c.note("it was started as root and changes to user %d itself: here it is that user from the start", became)
	default:
		reason := c.needsRoot()
		if reason == "" {
			c.note("it was observed as root, and is here a user who exists nowhere else: what it does as such was not seen (sandbox learn --user)")
			return
		}
		c.runsAs(0, reason)
		c.note("it runs as root, because of %s: better is a user of its own who may do that (sandbox learn --user)", reason)
	}
}

func (c *component) startedAs() (uid uint32) {
	if c.replaces != "" {
		for _, text := range sortedKeys(c.program.Users) {
			if id, err := strconv.ParseUint(text, 10, 32); err == nil {
				uid = max(uid, uint32(id))
			}
		}
		return uid
	}
	for _, run := range c.runs {
		uid = max(uid, run.User)
	}
	return uid
}

func (c *component) runsAs(uid uint32, why string) {
	number := strconv.FormatUint(uint64(uid), 10)
	found, known := c.host.User(number)
	if !known {
		c.note("the host has no user %d, whom it ran as", uid)
		return
	}
	c.user = found.Name
	c.setting("user: "+word(found.Name), why)
}

// insideCapabilities are those that mean something in the user namespace of a
// compartment: the others are the machine's, and no component can have them.
var insideCapabilities = map[string]bool{"CAP_CHOWN": true, "CAP_DAC_OVERRIDE": true, "CAP_DAC_READ_SEARCH": true, "CAP_FOWNER": true, "CAP_FSETID": true,
	"CAP_KILL": true, "CAP_SETUID": true, "CAP_SETGID": true, "CAP_SYS_CHROOT": true}

// privileges names the capabilities that it used where it stays root. As
// another user it has none, and what it did as root before is done for it.
func (c *component) privileges() {
	var left []string
	for _, name := range sortedKeys(c.program.Capabilities) {
		count := c.program.Capabilities[name]
		switch {
		case c.options.Base == "" && c.user == "root" && insideCapabilities[name]:
			c.capabilities = append(c.capabilities, &line{text: "- " + name, comment: seenTimes(count)})
		case name == "CAP_NET_BIND_SERVICE":
			// The monitor binds what is granted.
		default:
			left = append(left, fmt.Sprintf("%s (%s)", name, seenTimes(count)))
		}
	}
	if len(left) > 0 {
		c.note("capabilities that it used and that are left out: %s", strings.Join(left, ", "))
	}
}

// became is the user that it changed to, 0 if none.
func (c *component) became() uint32 {
	for _, text := range sortedKeys(c.program.Arguments) {
		fields := strings.Fields(text)
		index := map[string]int{"setuid": 1, "setreuid": 2, "setresuid": 2}[fields[0]]
		if index == 0 || index >= len(fields) {
			continue
		}
		if uid, err := strconv.ParseUint(fields[index], 0, 32); err == nil && uid != 0 {
			return uint32(uid)
		}
	}
	return 0
}

// needsRoot is a path that root used and that is not everybody's; "" if none.
func (c *component) needsRoot() string {
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		if p.Kind == Device || within(name, "/proc") || within(name, "/sys") || within(name, "/dev") {
			continue
		}
		if p.writes() {
			if !scratch[c.existing(path.Dir(name))] {
				return "writing " + name
			}
			continue
		}
		found := resolve(c.host, name)
		if found.err != nil || p.New {
			continue
		}
		needed := fs.FileMode(4)
		if found.info.IsDir() {
			needed = 5
		}
		if p.Uses[Read]+p.Uses[List] > 0 && found.info.Mode().Perm()&needed != needed {
			return "reading " + name
		}
	}
	return ""
}

func (p *Path) writes() bool { return p.Uses[Write]+p.Uses[Create]+p.Uses[Remove] > 0 }

// start says where it starts, when that matters.
func (c *component) start() {
	if c.options.Base != "" || c.replaces != "" {
		return
	}
	last := c.runs[len(c.runs)-1]
	relative := false
	for _, run := range c.runs {
		relative = relative || run.Relative && run.Directory == last.Directory
	}
	if relative && last.Directory != "/" {
		c.setting("directory: "+word(last.Directory), "it uses paths from there")
	}
}

// startsIn lets a helper be where it was executed: its caller's directory must
// be there, be it empty.
func (c *component) startsIn() {
	if c.replaces == "" {
		return
	}
	var missing []string
	for _, directory := range sortedKeys(c.program.Directories) {
		if directory != "/" && !c.view.exists(directory) {
			missing = append(missing, directory)
		}
	}
	switch {
	case len(missing) == 1 && len(c.program.Directories) == 1:
		c.setting("directory: "+word(missing[0]), "it is executed there")
	case len(missing) > 0:
		c.note("it is executed in several directories that it does not see: %s", strings.Join(missing[:min(len(missing), 4)], ", "))
	}
}

// limitsSeen proposes limits with a margin.
func (c *component) limitsSeen() {
	peak := c.program.Peak
	limit := func(key, text, seen string) {
		c.limits = append(c.limits, &line{text: key + ": " + text, comment: "at most " + seen + " seen"})
	}
	const mega = 1 << 20
	memory := max(roundUp(2*peak.Memory, 16*mega), 64*mega)
	processes := uint64(1)
	if peak.Tasks > 1 {
		processes = roundUp(2*peak.Tasks, 4)
	}
	files := max(roundUp(2*peak.OpenFiles, 64), 64)
	if c.listens {
		files = max(files, 1024) // connections come with clients, and few came while it was observed
	}
	locked := roundUp(2*peak.Locked, 64<<10)
	if c.options.Base != "" {
		c.limitsBeyond(memory, processes, files, locked)
		return
	}
	limit("memory", size(memory), size(roundUp(peak.Memory, 1024)))
	if c.replaces == "" { // tasks are counted for all programs together
		limit("processes", strconv.FormatUint(processes, 10), strconv.FormatUint(max(peak.Tasks, 1), 10))
	}
	limit("open-files", strconv.FormatUint(files, 10), strconv.FormatUint(peak.OpenFiles, 10))
	if locked > 0 {
		limit("locked-memory", size(locked), size(peak.Locked))
	}
}

// limitsBeyond raises what the base limits below what was seen.
func (c *component) limitsBeyond(memory, processes, files, locked uint64) {
	base := c.planned()
	peak := c.program.Peak
	raise := func(key, text string, seen, allowed uint64) {
		if allowed > 0 && seen > allowed {
			c.limits = append(c.limits, &line{text: key + ": " + text, comment: fmt.Sprintf("%d seen, %d allowed", seen, allowed)})
		}
	}
	raise("memory", size(memory), peak.Memory, base.Limits.Memory)
	raise("processes", strconv.FormatUint(processes, 10), peak.Tasks, uint64(base.Limits.Processes))
	raise("open-files", strconv.FormatUint(files, 10), peak.OpenFiles, uint64(base.Limits.OpenFiles))
	if peak.Locked > base.Limits.Locked {
		c.limits = append(c.limits, &line{text: "locked-memory: " + size(locked), comment: fmt.Sprintf("%d seen, %d allowed", peak.Locked, base.Limits.Locked)})
	}
}

func roundUp(n, step uint64) uint64 { return (n + step - 1) / step * step }

// size writes bytes as a policy does.
func size(n uint64) string {
	units := []string{"", "K", "M", "G"}
	unit := 0
	for unit < len(units)-1 && n >= 1024 && n%1024 == 0 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatUint(n, 10) + units[unit]
}
