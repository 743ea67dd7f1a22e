package learn

import (
	"debug/elf"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
	"sync"

	"bulkhead/policy/plan"
)

// item is a path that the draft names, with how often what it covers was seen.
type item struct {
	name  string
	count uint64
	why   string
}

// take writes items under a key of files:.
func (c *component) take(key string, items []item) {
	for _, i := range items {
		comment := seenTimes(i.count)
		if i.why != "" {
			comment = i.why + ", " + comment
		}
		c.files[key] = append(c.files[key], &line{text: "- " + word(i.name), comment: oneLine(comment)})
	}
}

// special says whether a path is in a file system of the kernel's, of which
// nothing is named in part.
func special(name string) bool {
	return within(name, "/proc") || within(name, "/sys") || within(name, "/dev")
}

// made names where it writes. A file that is only written is named itself; one
// that is made, removed or renamed needs its directory, so that temporary and
// rotated names need no rule of their own.
func (c *component) made() {
	items := map[string]*item{}
	temporary := map[string]*item{}
	put := func(to map[string]*item, name, why string, count uint64) {
		if to[name] == nil {
			to[name] = &item{name: name, why: why}
		}
		to[name].count += count
	}
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		if !p.writes() || special(name) && !within(name, "/dev/shm") || p.Kind == Device || p.Kind == FIFO && !p.New {
			continue
		}
		count := p.Uses[Write] + p.Uses[Create] + p.Uses[Remove]
		whole := p.New || p.Uses[Create]+p.Uses[Remove] > 0
		if !whole && p.Kind == Directory && (broad(name) || scratch[name]) {
			continue // it would make it were it not there
		}
		if !whole && resolve(c.host, name).err == nil {
			put(items, name, "", count)
			continue
		}
		directory := c.existing(path.Dir(name))
		switch {
		case scratch[directory] && !c.usesWhatIsIn(directory):
			put(temporary, directory, "its own, in memory", count)
		case scratch[directory]:
			put(items, directory, "shared: it also uses what others put there", count)
		case broad(directory) && p.Uses[Remove] == 0 && resolve(c.host, name).err == nil:
			// It is there now; the directory would be far more.
			put(items, name, "made by it: it must exist before the next start", count)
		case broad(directory):
			put(items, directory, "for "+path.Base(name)+": wide, better a directory of its own", count)
		default:
			put(items, directory, "", count)
		}
	}
	for name, i := range items {
		if c.view.makes(name) || c.view.shows(name, plan.Read|plan.Write) || coveredBy(items, name) {
			delete(items, name)
			continue
		}
		i.name = name
	}
	for name := range temporary {
		if e := c.view.above(resolve(c.host, name).real); e != nil && e.Kind == plan.EntryTemporary && !c.replaced || coveredBy(items, name) || c.options.Base != "" && c.view.makes(name) {
			delete(temporary, name)
		}
	}
	c.take("write", generalise(items))
	c.take("temporary", sorted(temporary))
}

// scratch are the directories for temporary files and for pid files.
var scratch = map[string]bool{"/tmp": true, "/var/tmp": true, "/dev/shm": true, "/run": true, "/var/run": true, "/run/lock": true, "/var/lock": true}

// existing is the nearest directory above a path that the program did not make.
func (c *component) existing(directory string) string {
	for directory != "/" {
		p := c.program.Paths[directory]
		if (p == nil || !p.New) && resolve(c.host, directory).err == nil {
			break
		}
		directory = path.Dir(directory)
	}
	return directory
}

// usesWhatIsIn says whether it uses files in a directory that it did not make.
func (c *component) usesWhatIsIn(directory string) bool {
	for name, p := range c.program.Paths {
		if name != directory && within(name, directory) && !p.New && p.Kind != Socket &&
			p.Uses[Read]+p.Uses[List]+p.Uses[Write]+p.Uses[Execute]+p.Uses[Map] > 0 && resolve(c.host, name).err == nil {
			return true
		}
	}
	return false
}

func coveredBy(items map[string]*item, name string) bool {
	for other := range items {
		if other != name && within(name, other) {
			return true
		}
	}
	return false
}

func sorted(items map[string]*item) []item {
	var all []item
	for _, name := range sortedKeys(items) {
		all = append(all, *items[name])
	}
	return all
}

// started names the programs that it executes, and devices.
func (c *component) started() {
	programs, devices := map[string]*item{}, map[string]*item{}
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		switch {
		case resolve(c.host, name).err != nil || p.New:
		case p.Kind == Device:
			c.device(devices, name, p)
		case special(name) || c.splits[c.canonical(name)]:
		case p.Uses[Execute] > 0 && !c.view.shows(name, plan.Read|plan.Execute):
			programs[name] = &item{name: name, count: p.Uses[Execute]}
		}
	}
	c.take("execute", sorted(programs))
	c.take("devices", sorted(devices))
}

// mapped names the shared objects that it loads beyond what ld.so does for it and
// for the programs that it executes.
func (c *component) mapped() {
	libraries := map[string]*item{}
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		if p.Uses[Map] == 0 || p.New || special(name) || resolve(c.host, name).err != nil || c.view.shows(name, plan.Read) {
			continue
		}
		name = c.asked(name)
		libraries[name] = &item{name: name, count: p.Uses[Map]}
	}
	c.take("libraries", families(c.loaded(libraries)))
}

func (c *component) device(devices map[string]*item, name string, p *Path) {
	switch {
	case name == "/dev/tty" || within(name, "/dev/pts") || name == "/dev/console":
		c.note("%s, its terminal, was used and is left out: a component has no controlling terminal", name)
	case !c.view.shows(name, plan.Read|plan.Write) && p.Uses[Read]+p.Uses[Write] > 0:
		devices[name] = &item{name: name, count: p.Uses[Read] + p.Uses[Write]}
	}
}

// loaded leaves out what comes with another shared object, and the modules of
// libc that look names up: a component has an nsswitch.conf of its own, which
// names files only.
func (c *component) loaded(libraries map[string]*item) map[string]*item {
	neededBy := map[string][]string{}
	for name := range libraries {
		file, err := c.host.Open(resolve(c.host, name).real)
		if err != nil {
			continue
		}
		if image, err := elf.NewFile(file); err == nil {
			needed, _ := image.ImportedLibraries()
			for _, soname := range needed {
				neededBy[soname] = append(neededBy[soname], name)
			}
		}
		file.Close()
	}
	kept := map[string]*item{}
	for name, i := range libraries {
		if strings.HasPrefix(path.Base(name), "libnss_") {
			c.note("%s is left out: a component looks names up in its own files", name)
			continue
		}
		if len(neededBy[path.Base(name)]) == 0 {
			kept[name] = i
		}
	}
	return kept
}

// asked is the name by which a program opened what was mapped under its real
// name: libx.so.1, not libx.so.1.2.3.
func (c *component) asked(real string) string {
	for _, name := range sortedKeys(c.program.Paths) {
		if name != real && c.program.Paths[name].Uses[Read] > 0 && resolve(c.host, name).real == real {
			return name
		}
	}
	return real
}

// families makes a pattern of several shared objects of one directory.
func families(items map[string]*item) []item {
	byDirectory := map[string][]string{}
	for _, name := range sortedKeys(items) {
		byDirectory[path.Dir(name)] = append(byDirectory[path.Dir(name)], name)
	}
	for directory, names := range byDirectory {
		if len(names) < 2 || broad(directory) || path.Base(directory) == "x86_64-linux-gnu" {
			continue
		}
		pattern := directory + "/*.so"
		for _, name := range names {
			if !strings.HasSuffix(name, ".so") {
				pattern = directory + "/*.so*"
			}
		}
		items[pattern] = &item{}
		for _, name := range names {
			items[pattern].count += items[name].count
			delete(items, name)
		}
		items[pattern].name = pattern
	}
	return sorted(items)
}

// read names what it reads. Several files of one directory are the directory:
// the next run may read others.
func (c *component) read() {
	items := map[string]*item{}
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		count := p.Uses[Read] + p.Uses[List] + p.Uses[Map]
		switch {
		case within(name, "/proc"):
			c.readsProc(name, p)
			continue
		case within(name, "/sys"):
			if p.Uses[Read]+p.Uses[List] > 0 {
				c.note("%s was read and is left out: nothing of /sys can be shown, and programs do without", name)
			}
			continue
		case c.splits[c.canonical(name)] && p.Uses[Execute] > 0, within(name, "/dev"), p.New, p.Kind == Socket, p.Kind == Device, count == 0, p.Uses[Execute] > 0 && p.Uses[Read] == 0:
			continue
		}
		found := resolve(c.host, name)
		if found.err != nil || c.view.shows(name, plan.Read) {
			continue
		}
		if mapped := c.program.Paths[found.real]; mapped != nil && mapped.Uses[Map] > 0 {
			continue // a shared object: see loaded
		}
		if p.Uses[List] > 0 && broad(name) {
			c.note("it lists %s, which is left out because it is wide: name it under files.read if it must", name)
			continue
		}
		why := ""
		if p.Uses[List] > 0 {
			why = "a directory"
		}
		items[name] = &item{name: name, count: count, why: why}
	}
	c.take("read", generalise(items))
}

// sameDirectory is how many files of one directory stand for all of it.
const sameDirectory = 3

var digits = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9]+`) })

// generalise puts a directory in the place of several of its files, and again
// for directories of those, but never a wide one.
func generalise(items map[string]*item) []item {
	for changed := true; changed; {
		changed = false
		for name := range items {
			if coveredBy(items, name) {
				for other := range items {
					if other != name && within(name, other) {
						items[other].count += items[name].count
						break
					}
				}
				delete(items, name)
			}
		}
		byDirectory := map[string][]string{}
		for _, name := range sortedKeys(items) {
			byDirectory[path.Dir(name)] = append(byDirectory[path.Dir(name)], name)
		}
		directories := sortedKeys(byDirectory)
		sort.SliceStable(directories, func(a, b int) bool { return strings.Count(directories[a], "/") > strings.Count(directories[b], "/") })
		for _, directory := range directories {
			names := byDirectory[directory]
			if broad(directory) || len(names) < sameDirectory && !numberedNames(names) {
				continue
			}
			sum := uint64(0)
			for _, name := range names {
				sum += items[name].count
				delete(items, name)
			}
			items[directory] = &item{name: directory, count: sum, why: fmt.Sprintf("%d paths in it", len(names))}
			changed = true
			break
		}
	}
	return sorted(items)
}

// numberedNames says whether names differ in nothing but digits: rotated files,
// dates.
func numberedNames(names []string) bool {
	known := map[string]bool{}
	for _, name := range names {
		form := digits().ReplaceAllString(path.Base(name), "0")
		if known[form] {
			return true
		}
		known[form] = true
	}
	return false
}

// broad says whether a directory is the system's and not one thing's: to name
// it would say nothing.
func broad(directory string) bool {
	parts := strings.Split(strings.Trim(directory, "/"), "/")
	switch {
	case len(parts) <= 1:
		return true
	case len(parts) == 2:
		return parts[0] == "usr" || parts[0] == "var" || parts[0] == "home" || directory == "/run/user" || directory == "/etc/alternatives"
	}
	return directory == "/usr/lib/x86_64-linux-gnu" || directory == "/usr/local/bin" || directory == "/usr/local/lib" || directory == "/usr/local/share"
}

// procNotNeeded are files of /proc that libraries ask for and do without.
var procNotNeeded = map[string]string{
	"/proc/filesystems":                      "libselinux",
	"/proc/mounts":                           "a link into its own",
	"/proc/sys/kernel/ngroups_max":           "libc",
	"/proc/sys/kernel/cap_last_cap":          "libcap",
	"/proc/sys/vm/overcommit_memory":         "malloc",
	"/proc/sys/crypto/fips_enabled":          "libgcrypt",
	"/proc/sys/kernel/random/boot_id":        "systemd's libraries",
	"/proc/sys/kernel/seccomp/actions_avail": "libseccomp",
}

var ownProc = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/proc/(self|thread-self|[0-9]+)(/|$)`) })

// readsProc decides what /proc must show. Numbers in it are pids, which are
// others in the next run.
func (c *component) readsProc(name string, p *Path) {
	count := p.Uses[Read] + p.Uses[List]
	if count == 0 || name == "/proc" || ownProc().MatchString(name) {
		return // its own processes are shown by default
	}
	if who, known := procNotNeeded[name]; known {
		c.note("%s was read and is left out: %s asks for it and does without", name, who)
		return
	}
	if c.view != nil && c.planned().Proc == plan.ProcFull {
		return
	}
	if c.proc == nil {
		c.proc = &line{text: "proc: full", comment: name + " " + seenTimes(count)}
		return
	}
	if strings.Count(c.proc.comment, ",") < 2 {
		c.proc.comment += ", " + name
	}
}

// looked names what is only asked for: programs make decisions by it.
func (c *component) looked() {
	items := map[string]*item{}
	for _, name := range sortedKeys(c.program.Paths) {
		p := c.program.Paths[name]
		if p.New || special(name) || c.splits[c.canonical(name)] || p.Kind == Socket || p.Kind == Device || p.Uses[Look]+p.Uses[Enter] == 0 || c.view.exists(name) {
			continue
		}
		found := resolve(c.host, name)
		if found.err != nil {
			continue
		}
		count := p.Uses[Look] + p.Uses[Enter]
		if scratch[name] && !within(name, "/run") && !within(name, "/var/run") && c.view.above(found.real) == nil && !c.usesWhatIsIn(name) {
			c.take("temporary", []item{{name: name, count: count, why: "only asked for"}})
			continue
		}
		if found.info.IsDir() && broad(name) {
			continue
		}
		if found.info.IsDir() && p.Uses[Enter] == 0 {
			c.note("it asks for the directory %s (%s), which is left out: name it under files.read if it must be there", name, seenTimes(count))
			continue
		}
		if found.info.Mode()&0o111 != 0 && found.info.Mode().IsRegular() {
			c.note("it asks for the program %s (%s) and does not execute it: left out", name, seenTimes(count))
			continue
		}
		items[name] = &item{name: name, count: count, why: "only asked for"}
	}
	c.take("read", generalise(items))
}
