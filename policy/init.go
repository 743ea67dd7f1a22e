package policy

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// InitOptions say what `sandbox init` starts from.
type InitOptions struct {
	Program   string   // absolute path; may be empty with a unit
	Arguments []string // without the program
	Unit      string   // text of a systemd unit; "" looks for the package's
	UnitName  string   // for the comment at the top
}

// draft is a policy on its way to text.
type draft struct {
	host *lookups

	name                                       string
	packages                                   []string
	command                                    []string
	settings                                   map[string]string // scalar keys of the component
	limits                                     map[string]string
	groups, capabilities, calls, deny          []string
	read, write, execute, libraries, temporary []string
	devices                                    []string
	environment                                [][2]string
	notes                                      []string
}

// Init writes a starting policy for a program: what its package installs and
// what its systemd unit says, as far as a policy can say it. It is a start: the
// comments name what a person must still decide.
func Init(w io.Writer, o InitOptions, host Host) error {
	d := &draft{host: newLookups(host), settings: map[string]string{}, limits: map[string]string{}}
	if o.Program != "" {
		d.command = append([]string{o.Program}, o.Arguments...)
	}
	unit, unitName := o.Unit, o.UnitName
	if unit == "" && o.Program != "" {
		d.findPackages(o.Program)
		unit, unitName = d.findUnit(o.Program)
		if unit != "" && len(o.Arguments) == 0 {
			d.command = nil // the unit knows the arguments
		}
	}
	if unit != "" {
		d.fromUnit(unit)
	}
	if len(d.command) == 0 {
		return fmt.Errorf("the unit has no ExecStart")
	}
	program := d.command[0]
	if wrong, _ := checkPath(program); wrong != "" {
		return fmt.Errorf("%s: %s", program, wrong)
	}
	if found := d.host.resolve(program); found.err != nil {
		return fmt.Errorf("%s: %s", program, reason(found.err))
	}
	if d.packages == nil {
		d.findPackages(program)
	}
	d.name = nameFor(program)
	d.packageFiles()
	d.interpreter(program)
	d.checkIdentity()
	return d.writeTo(w, unitName)
}

// nameFor makes a name of a program's.
func nameFor(program string) string {
	name := strings.Map(func(r rune) rune {
		if nameWord("a" + string(r)) {
			return r
		}
		return '-'
	}, path.Base(program))
	name = strings.TrimLeft(name, "-_")
	if len(name) > 40 {
		name = name[:40]
	}
	if name == "" {
		return "program"
	}
	return name
}

func (d *draft) set(key, value string) {
	if value != "" {
		d.settings[key] = value
	}
}

func (d *draft) limit(key, value string) {
	if value != "" && value != "0" {
		d.limits[key] = value
	}
}

const packageDirectory = "/var/lib/dpkg/info"

// findPackages finds the Debian package of a program and the ones that hold
// the rest of it.
func (d *draft) findPackages(program string) {
	d.packages = []string{}
	entries, err := d.host.ReadDir(packageDirectory)
	if err != nil {
		return // no Debian: the policy starts from the program alone
	}
	// The path may be listed as it was before /usr was merged.
	names := []string{program, strings.TrimPrefix(program, "/usr")}
	known := map[string]bool{}
	owner := ""
	for _, entry := range entries {
		name, isList := strings.CutSuffix(entry.Name(), ".list")
		if !isList {
			continue
		}
		known[name] = true
		if owner != "" {
			continue
		}
		for _, line := range d.packageList(name) {
			if line == names[0] || line == names[1] {
				owner = name
			}
		}
	}
	if owner == "" {
		return
	}
	d.packages = append(d.packages, owner)
	base, _, _ := strings.Cut(owner, ":")
	for _, suffix := range []string{"-common", "-data", "-core", "-base"} {
		if known[base+suffix] {
			d.packages = append(d.packages, base+suffix)
		}
	}
}

func (d *draft) packageList(name string) []string {
	text, err := d.host.readText(path.Join(packageDirectory, name+".list"), 8<<20)
	if err != nil {
		return nil
	}
	return strings.Split(text, "\n")
}

// findUnit finds the unit of the packages that starts the program.
func (d *draft) findUnit(program string) (text, name string) {
	real := d.host.resolve(program).real
	for _, pkg := range d.packages {
		for _, file := range d.packageList(pkg) {
			if !strings.Contains(file, "/systemd/system/") || !strings.HasSuffix(file, ".service") {
				continue
			}
			content, err := d.host.readText(file, 1<<20)
			if err != nil {
				continue
			}
			for _, line := range parseUnit(content) {
				if words := splitWords(strings.TrimLeft(line.value, "-@:+!")); line.key == "ExecStart" && len(words) > 0 &&
					(words[0] == program || d.host.resolve(words[0]).real == real) && !strings.Contains(path.Base(file), "@") {
					return content, file
				}
			}
		}
	}
	return "", ""
}

// notRead are directories of packages that a program does not read.
var notRead = words(`/etc/init.d /etc/cron.d /etc/cron.daily /etc/cron.weekly /etc/cron.hourly /etc/cron.monthly /etc/logrotate.d /etc/default
	/etc/systemd /etc/apparmor.d /etc/ufw /etc/pam.d /etc/bash_completion.d /etc/init /etc/insserv.conf.d /etc/rc.d /etc/NetworkManager /etc/network
	/etc/resolvconf /etc/ppp /etc/dhcp /etc/tmpfiles.d
	/usr/share/doc /usr/share/man /usr/share/lintian /usr/share/bash-completion /usr/share/bug /usr/share/doc-base /usr/share/info
	/usr/share/apport /usr/share/applications /usr/share/icons /usr/share/zsh /usr/share/fish /usr/share/vim /usr/share/locale /usr/share/pixmaps
	/usr/share/reportbug /usr/share/metainfo /usr/share/polkit-1 /usr/share/dbus-1 /usr/share/initramfs-tools
	/usr/lib/systemd /usr/lib/tmpfiles.d /usr/lib/sysusers.d /usr/lib/debug /usr/lib/x86_64-linux-gnu /usr/lib/udev /usr/lib/modules /usr/lib/pkgconfig`)

// packageFiles adds what the packages install for the program to use.
func (d *draft) packageFiles() {
	sharedObject := regexp.MustCompile(`^/usr/lib/.+/.+\.so$`)
	for _, pkg := range d.packages {
		for _, file := range d.packageList(pkg) {
			file = strings.TrimSuffix(file, "/.")
			if strings.HasPrefix(file, "/lib/") {
				file = "/usr" + file
			}
			parts := strings.Split(file, "/")
			if len(parts) < 3 {
				continue
			}
			second, third := strings.Join(parts[:3], "/"), ""
			if len(parts) > 3 {
				third = strings.Join(parts[:4], "/")
			}
			switch {
			case sharedObject.MatchString(file):
				d.libraries = append(d.libraries, path.Dir(file)+"/*.so")
			case parts[1] == "etc" && !notRead[second]:
				d.read = append(d.read, second)
			case second == "/usr/share" && third != "" && !notRead[third]:
				d.read = append(d.read, third)
			case second == "/usr/lib" && third != "" && !notRead[third], second == "/usr/libexec" && third != "":
				d.helper(file)
			case third != "" && (second == "/var/lib" || second == "/var/log" || second == "/var/cache" || second == "/var/spool"):
				d.write = append(d.write, third)
			case second == "/var/www":
				d.read = append(d.read, second)
			}
		}
	}
}

// helper sorts a file of /usr/lib: a program that this one starts, or data.
func (d *draft) helper(file string) {
	found := d.host.resolve(file)
	switch {
	case found.err != nil || !found.info.Mode().IsRegular():
	case found.info.Mode()&0o111 != 0:
		d.execute = append(d.execute, file)
	default:
		d.read = append(d.read, file)
	}
}

// interpreter adds what interpreters need beyond their libraries.
func (d *draft) interpreter(program string) {
	c := &componentCompiler{compiler: &compiler{reporter: &reporter{}, host: d.host}}
	runs := program
	if interpreter, argument, isScript := c.shebang(d.host.resolve(program).real); isScript {
		runs = interpreter
		if path.Base(interpreter) == "env" {
			runs = argument
		}
	}
	switch base := path.Base(runs); {
	case strings.HasPrefix(base, "python3"):
		d.settings["extends"] = "python"
	case base == "perl":
		d.read = append(d.read, "/usr/share/perl", "/usr/share/perl5", "/usr/lib/x86_64-linux-gnu/perl", "/usr/lib/x86_64-linux-gnu/perl-base")
		d.libraries = append(d.libraries, "/usr/lib/x86_64-linux-gnu/perl-base/auto/*/*.so")
	case base == "sh" || base == "bash" || base == "dash":
		d.note("a shell script starts other programs: name them under files.execute:")
	}
}

func (d *draft) checkIdentity() {
	for _, key := range []string{"user", "group"} {
		name := d.settings[key]
		if name == "" {
			continue
		}
		_, known := d.host.Group(name)
		if key == "user" {
			_, known = d.host.User(name)
		}
		if !known {
			delete(d.settings, key)
			d.note("the host has no %s %q", key, name)
		}
	}
	if d.settings["user"] == "" {
		d.note("no user is named: it runs as somebody who exists nowhere else, and files: must be readable for all")
	}
}

// writeTo writes the policy.
func (d *draft) writeTo(w io.Writer, unitName string) error {
	var b strings.Builder
	line := func(format string, arguments ...any) { fmt.Fprintf(&b, format+"\n", arguments...) }
	line("# A starting policy for %s, written by `sandbox init`.", printable(d.command[0]))
	if len(d.packages) > 0 {
		line("# Debian packages: %s.", strings.Join(d.packages, ", "))
	}
	if unitName != "" {
		line("# Unit: %s.", printable(unitName))
	}
	if len(d.notes) > 0 {
		line("#\n# To decide:")
		for _, note := range d.notes {
			line("# - %s", printable(strings.ReplaceAll(note, "\n", " ")))
		}
	}
	line("application: %s", d.name)
	line("# The sockets that it listens on and the addresses that it connects to, as:")
	line("# grants:")
	line("#   main: {listen: \"tcp:127.0.0.1:8080\"}   # and under the component: grants: [main]")
	line("components:")
	line("  %s:", d.name)
	if extends := d.settings["extends"]; extends != "" {
		line("    extends: %s", extends)
	}
	line("    command: %s", yamlList(d.command))
	for _, key := range []string{"user", "group"} {
		if value := d.settings[key]; value != "" {
			line("    %s: %s", key, yamlWord(value))
		}
	}
	if len(d.groups) > 0 {
		line("    groups: %s", yamlList(unique(d.groups)))
	}
	if directory := d.settings["directory"]; path.IsAbs(directory) {
		line("    directory: %s", yamlWord(directory))
	}
	if umask := d.settings["umask"]; umask != "" {
		line("    umask: %s", umask)
	}
	d.writeEnvironment(line)
	d.writeFiles(line)
	d.writeCalls(line)
	if len(d.capabilities) > 0 {
		line("    capabilities: %s", yamlList(unique(d.capabilities)))
	}
	if len(d.limits) > 0 {
		line("    limits:")
		for _, key := range sortedKeys(d.limits) {
			line("      %s: %s", key, d.limits[key])
		}
	}
	for _, key := range []string{"ready", "ready-timeout", "restart", "restart-delay", "stop-signal", "stop-timeout", "reload-signal", "watchdog"} {
		if value := d.settings[key]; value != "" {
			line("    %s: %s", key, yamlWord(value))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *draft) writeEnvironment(line func(string, ...any)) {
	if len(d.environment) == 0 {
		return
	}
	line("    environment:")
	seen := map[string]bool{}
	for _, variable := range d.environment {
		if !seen[variable[0]] {
			line("      %s: %s", variable[0], strconv.Quote(variable[1]))
		}
		seen[variable[0]] = true
	}
}

func (d *draft) writeFiles(line func(string, ...any)) {
	type section struct {
		key   string
		paths []string
	}
	sections := []section{{"read", d.without(d.read, d.write)}, {"write", unique(d.write)}, {"execute", unique(d.execute)},
		{"libraries", unique(d.libraries)}, {"temporary", d.without(d.temporary, d.write)}, {"devices", unique(d.devices)}}
	some := false
	for _, s := range sections {
		some = some || len(s.paths) > 0
	}
	if !some {
		return
	}
	line("    files:")
	for _, s := range sections {
		if len(s.paths) == 0 {
			continue
		}
		line("      %s:", s.key)
		for _, name := range s.paths {
			found := d.host.resolve(name)
			missing := found.err != nil && s.key != "temporary" && !isPattern(name) || isPattern(name) && len(d.host.glob(name)) == 0
			switch {
			case s.key == "devices" && (missing || found.info.Mode()&fs.ModeDevice == 0):
				line("        # %s is no device of this host", name)
			case missing:
				line("        - {path: %s, optional: true}", yamlWord(name))
			default:
				line("        - %s", yamlWord(name))
			}
		}
	}
}

// without drops the paths that others cover.
func (d *draft) without(paths, others []string) []string {
	var kept []string
	for _, name := range unique(paths) {
		covered := false
		for _, other := range append(append([]string(nil), others...), kept...) {
			covered = covered || inside(name, other)
		}
		if !covered {
			kept = append(kept, name)
		}
	}
	return kept
}

func (d *draft) writeCalls(line func(string, ...any)) {
	known := func(names []string) []string {
		c := &componentCompiler{compiler: &compiler{reporter: &reporter{}}}
		var kept []string
		for _, name := range unique(names) {
			if calls := c.callsNamed(Text{Value: name}); len(calls) > 0 && !absent[calls[0]] {
				kept = append(kept, name)
			}
		}
		return kept
	}
	allowed, denied := known(d.calls), known(d.deny)
	if len(allowed)+len(denied) == 0 {
		return
	}
	line("    syscalls:")
	for _, name := range allowed {
		line("      - %s", yamlWord(name))
	}
	if len(denied) > 0 {
		line("      - {deny: %s}", yamlList(denied))
	}
}

func unique(list []string) []string {
	var kept []string
	for _, text := range list {
		if !contains(kept, text) {
			kept = append(kept, text)
		}
	}
	sort.Strings(kept)
	return kept
}

func sortedKeys(m map[string]string) []string {
	keys := keysOf(m)
	sort.Strings(keys)
	return keys
}

var plainWord = pattern(`^[A-Za-z/_][A-Za-z0-9/._+@=-]*$`)

// yamlWord writes a text so that it is read as that text.
func yamlWord(text string) string {
	if plainWord().MatchString(text) && !looksBoolean(text) && text != "true" && text != "false" && text != "null" || isDuration(text) {
		return text
	}
	return strconv.Quote(strings.ReplaceAll(text, "${", "$${"))
}

func isDuration(text string) bool {
	_, wrong, _ := parseDuration(text)
	return wrong == ""
}

func yamlList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = yamlWord(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
