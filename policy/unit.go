package policy

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// unitLine is one directive of a systemd unit, see systemd.syntax(7).
type unitLine struct {
	section, key, value string
}

// parseUnit reads a unit's directives in order. It is lenient: systemd skips
// what it does not understand, too.
func parseUnit(text string) []unitLine {
	var lines []unitLine
	section := ""
	text = strings.ReplaceAll(text, "\\\n", " ")
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			lines = append(lines, unitLine{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return lines
}

// alwaysSo are directives whose wall every component has.
var alwaysSo = words(`NoNewPrivileges ProtectSystem ProtectHome PrivateDevices ProtectKernelTunables ProtectKernelModules
	ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname ProtectProc ProcSubset RestrictNamespaces RestrictRealtime
	RestrictSUIDSGID LockPersonality SystemCallArchitectures PrivateUsers PrivateMounts PrivateIPC RemoveIPC KeyringMode DynamicUser
	PrivateNetwork DevicePolicy MountFlags CapabilityBoundingSet SystemCallErrorNumber`)

// beside are directives that say nothing about rights or life.
var beside = words(`StandardOutput StandardError StandardInput SyslogIdentifier KillMode SendSIGKILL OOMScoreAdjust Slice Delegate
	GuessMainPID RemainAfterExit PermissionsStartOnly RuntimeDirectoryMode StateDirectoryMode LogsDirectoryMode CacheDirectoryMode
	ConfigurationDirectoryMode RuntimeDirectoryPreserve StartLimitInterval StartLimitBurst NotifyAccess TasksAccounting MemoryAccounting`)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}

// fromUnit puts a unit's directives into a draft, and notes what has no
// equivalent.
func (d *draft) fromUnit(text string) {
	for _, line := range parseUnit(text) {
		if line.section != "Service" {
			if line.section == "Unit" && dependencies[line.key] {
				d.otherUnits(line)
			}
			continue
		}
		switch translate := unitDirectives[line.key]; {
		case translate != nil:
			translate(d, line.value)
		case alwaysSo[line.key] || beside[line.key]:
		default:
			d.note("%s=%s has no equivalent", line.key, line.value)
		}
	}
}

// dependencies are the directives that name other units, systemd.unit(5).
var dependencies = words("Requires After BindsTo Wants")

func (d *draft) otherUnits(line unitLine) {
	as := "name it under after:"
	if line.key == "Wants" {
		as = "name it under after: as {NAME: tried}"
	}
	for _, unit := range strings.Fields(line.value) {
		if strings.HasSuffix(unit, ".service") || strings.HasSuffix(unit, ".socket") {
			d.note("%s=%s: make it a component too and %s, or grant its socket", line.key, unit, as)
		}
	}
}

// unitDirectives are the directives with an equivalent: systemd.exec(5),
// systemd.service(5), systemd.kill(5), systemd.resource-control(5).
var unitDirectives = map[string]func(d *draft, value string){
	"Type": func(d *draft, v string) {
		switch v {
		case "notify", "notify-reload":
			d.set("ready", "notify")
		case "forking":
			d.note("Type=forking: find the program's option that keeps it in the foreground, and add it to command:, or write background: true")
		case "oneshot":
			d.set("restart", "never")
		}
	},
	"ExecStart": func(d *draft, v string) { d.execStart(v) },
	"ExecReload": func(d *draft, v string) {
		arguments := strings.Fields(strings.TrimLeft(v, "-@:+!"))
		for i, argument := range arguments {
			signal := strings.TrimPrefix(argument, "-")
			if argument == "-s" && i+1 < len(arguments) {
				signal = arguments[i+1]
			}
			if _, known := signalNumber(signal); known && strings.HasSuffix(arguments[0], "kill") {
				d.set("reload-signal", "SIG"+strings.TrimPrefix(signal, "SIG"))
				return
			}
		}
		d.note("ExecReload=%s: reload-signal: has no equivalent of a command", v)
	},
	"ExecStartPre":     func(d *draft, v string) { d.note("ExecStartPre=%s: run it before the application", v) },
	"ExecStartPost":    func(d *draft, v string) { d.note("ExecStartPost=%s has no equivalent", v) },
	"ExecStop":         func(d *draft, v string) { d.note("ExecStop=%s: components end by stop-signal:", v) },
	"PIDFile":          func(d *draft, v string) { d.pidFile(v) },
	"User":             func(d *draft, v string) { d.set("user", v) },
	"Group":            func(d *draft, v string) { d.set("group", v) },
	"UMask":            func(d *draft, v string) { d.set("umask", "0"+strings.TrimLeft(v, "0")) },
	"WorkingDirectory": func(d *draft, v string) { d.set("directory", strings.TrimLeft(v, "-")) },
	"SupplementaryGroups": func(d *draft, v string) {
		d.groups = append(d.groups, strings.Fields(v)...)
	},
	"Environment": func(d *draft, v string) {
		for _, word := range splitWords(v) {
			if name, value, ok := strings.Cut(word, "="); ok && environmentName(name) {
				d.environment = append(d.environment, [2]string{name, value})
			}
		}
	},
	"EnvironmentFile": func(d *draft, v string) {
		d.note("EnvironmentFile=%s: name its variables under environment:", v)
	},
	"PassEnvironment": func(d *draft, v string) {
		d.note("PassEnvironment=%s: write {NAME: {inherit: true}} under environment:", v)
	},
	"AmbientCapabilities": func(d *draft, v string) {
		if !strings.HasPrefix(v, "~") {
			d.capabilities = append(d.capabilities, strings.Fields(v)...)
		}
	},
	"ReadWritePaths":       func(d *draft, v string) { d.paths(&d.write, v) },
	"ReadWriteDirectories": func(d *draft, v string) { d.paths(&d.write, v) },
	"BindPaths":            func(d *draft, v string) { d.paths(&d.write, v) },
	"ReadOnlyPaths":        func(d *draft, v string) { d.paths(&d.read, v) },
	"BindReadOnlyPaths":    func(d *draft, v string) { d.paths(&d.read, v) },
	"ExecPaths":            func(d *draft, v string) { d.paths(&d.execute, v) },
	"DeviceAllow": func(d *draft, v string) {
		if name, _, _ := strings.Cut(v, " "); path.IsAbs(name) {
			d.devices = append(d.devices, name)
		} else {
			d.note("DeviceAllow=%s: name the devices under files.devices:", v)
		}
	},
	"InaccessiblePaths":   func(d *draft, v string) {}, // nothing is there that is not named
	"TemporaryFileSystem": func(d *draft, v string) { d.paths(&d.temporary, v) },
	"PrivateTmp": func(d *draft, v string) {
		if v != "no" && v != "false" {
			d.temporary = append(d.temporary, "/tmp", "/var/tmp")
		}
	},
	"RuntimeDirectory":       func(d *draft, v string) { d.below(&d.temporary, "/run", v) },
	"StateDirectory":         func(d *draft, v string) { d.below(&d.write, "/var/lib", v) },
	"CacheDirectory":         func(d *draft, v string) { d.below(&d.write, "/var/cache", v) },
	"LogsDirectory":          func(d *draft, v string) { d.below(&d.write, "/var/log", v) },
	"ConfigurationDirectory": func(d *draft, v string) { d.below(&d.read, "/etc", v) },
	"LimitNOFILE":            func(d *draft, v string) { d.limit("open-files", count(v)) },
	"LimitNPROC":             func(d *draft, v string) { d.limit("processes", count(v)) },
	"TasksMax":               func(d *draft, v string) { d.limit("processes", count(v)) },
	"LimitCORE":              func(d *draft, v string) { d.limit("core-size", unitSize(v)) },
	"LimitFSIZE":             func(d *draft, v string) { d.limit("file-size", unitSize(v)) },
	"LimitMEMLOCK":           func(d *draft, v string) { d.limit("locked-memory", unitSize(v)) },
	"MemoryMax":              func(d *draft, v string) { d.limit("memory", unitSize(v)) },
	"MemoryLimit":            func(d *draft, v string) { d.limit("memory", unitSize(v)) },
	"MemorySwapMax":          func(d *draft, v string) { d.limit("swap", unitSize(v)) },
	"CPUQuota":               func(d *draft, v string) { d.limit("cpu-quota", v) },
	"CPUWeight":              func(d *draft, v string) { d.limit("cpu-share", count(v)) },
	"IOWeight":               func(d *draft, v string) { d.limit("io-weight", count(v)) },
	"RuntimeMaxSec":          func(d *draft, v string) { d.limit("wall-time", unitTime(v)) },
	"TimeoutStopSec":         func(d *draft, v string) { d.set("stop-timeout", unitTime(v)) },
	"TimeoutStartSec":        func(d *draft, v string) { d.set("ready-timeout", unitTime(v)) },
	"TimeoutSec": func(d *draft, v string) {
		d.set("stop-timeout", unitTime(v))
		d.set("ready-timeout", unitTime(v))
	},
	"RestartSec":  func(d *draft, v string) { d.set("restart-delay", unitTime(v)) },
	"WatchdogSec": func(d *draft, v string) { d.set("watchdog", unitTime(v)) },
	"KillSignal":  func(d *draft, v string) { d.set("stop-signal", v) },
	"Restart": func(d *draft, v string) {
		switch v {
		case "no":
			d.set("restart", "never")
		case "always", "on-success":
			d.set("restart", "always")
		default:
			d.set("restart", "on-failure")
		}
	},
	"SystemCallFilter": func(d *draft, v string) { d.systemCalls(v) },
	"RestrictAddressFamilies": func(d *draft, v string) {
		if !strings.HasPrefix(v, "~") && strings.Contains(v, "AF_NETLINK") {
			d.note("RestrictAddressFamilies=%s: \"@netlink-route\" under syscalls: allows netlink, for routes only", v)
		}
	},
	"MemoryDenyWriteExecute": func(d *draft, v string) {
		if v != "no" && v != "false" {
			d.note("MemoryDenyWriteExecute=%s has no equivalent", v)
		}
	},
}

// execStart takes the command, without the signs in front of it.
func (d *draft) execStart(value string) {
	if len(d.command) > 0 {
		return // the first one counts, or the one from the command line
	}
	d.command = splitWords(strings.TrimLeft(value, "-@:+!"))
	for _, word := range d.command {
		if strings.Contains(word, "$") {
			d.note("ExecStart uses %s: write the value of the variable", word)
		}
		if strings.Contains(strings.ReplaceAll(word, "%%", ""), "%") {
			d.note("ExecStart uses %s: write what systemd makes of it", word)
		}
	}
}

func (d *draft) pidFile(value string) {
	directory := path.Dir(value)
	if directory == "/run" || directory == "/var/run" {
		d.note("PIDFile=%s: tell the program to write none", value)
		return
	}
	d.temporary = append(d.temporary, directory)
}

func (d *draft) paths(target *[]string, value string) {
	for _, word := range splitWords(value) {
		word = strings.TrimLeft(word, "-+")
		word, _, _ = strings.Cut(word, ":")
		if strings.HasPrefix(word, "/") && !strings.Contains(word, "%") {
			*target = append(*target, clean(word))
		}
	}
}

func (d *draft) below(target *[]string, directory, value string) {
	for _, word := range splitWords(value) {
		word, _, _ = strings.Cut(word, ":")
		if !strings.Contains(word, "%") {
			*target = append(*target, path.Join(directory, word))
		}
	}
}

// systemCalls translates names; systemd's groups are others, and most of what
// they hold every component has.
func (d *draft) systemCalls(value string) {
	list, denied := strings.CutPrefix(value, "~")
	known := map[string]string{"@network-io": "@network-io", "@file-system": "@file-system", "@process": "@process", "@ipc": "@ipc",
		"@resources": "@resources", "@setuid": "@identity", "@aio": "@aio", "@privileged": "@privileged", "@debug": "@debug"}
	usual := words("@system-service @basic-io @default @signal @timer @io-event @sync @memlock")
	for _, name := range strings.Fields(list) {
		name, _, _ = strings.Cut(name, ":")
		translated, isGroup := known[name]
		switch {
		case usual[name]:
		case isGroup && denied:
			d.deny = append(d.deny, translated)
		case isGroup:
			d.calls = append(d.calls, translated)
		case strings.HasPrefix(name, "@"):
			if !denied {
				d.note("SystemCallFilter=%s: the group has no equivalent", name)
			}
		case denied:
			d.deny = append(d.deny, name)
		default:
			d.calls = append(d.calls, name)
		}
	}
}

// splitWords splits as systemd does: blanks separate, quotes keep together.
func splitWords(text string) []string {
	var result []string
	var b strings.Builder
	quote, inWord := rune(0), false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				result = append(result, b.String())
			}
			b.Reset()
			inWord = false
		default:
			b.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		result = append(result, b.String())
	}
	return result
}

// count reads "1024" or "1024:2048"; infinity is no limit.
func count(value string) string {
	value, _, _ = strings.Cut(value, ":")
	if _, err := strconv.Atoi(value); err != nil {
		return ""
	}
	return value
}

func unitSize(value string) string {
	value, _, _ = strings.Cut(value, ":")
	if value == "infinity" {
		return ""
	}
	if _, wrong, _ := parseBytes(value); wrong != "" {
		return ""
	}
	return value
}

// unitTime reads "90", "5min 20s", "infinity", see systemd.time(7).
func unitTime(value string) string {
	if value == "infinity" || value == "0" {
		return ""
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		return durationText(time.Duration(seconds) * time.Second)
	}
	replace := strings.NewReplacer(" ", "", "minutes", "m", "minute", "m", "min", "m", "seconds", "s", "second", "s", "sec", "s",
		"hours", "h", "hour", "h", "hr", "h", "msec", "ms")
	total, err := time.ParseDuration(replace.Replace(value))
	if err != nil {
		return ""
	}
	return durationText(total)
}

func (d *draft) note(format string, arguments ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, arguments...))
}
