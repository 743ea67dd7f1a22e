package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Role is what a process is in an application.
type Role string

// The roles.
const (
	Launcher        Role = "launcher"
	Fork            Role = "fork"    // of the launcher, about to execute one of the others
	Builder         Role = "builder" // and what libcontainer makes of it
	Monitor         Role = "monitor"
	Sweeper         Role = "sweeper"
	Keeper          Role = "keeper"
	Supervisor      Role = "supervisor"
	CompartmentInit Role = "compartment's init"
	WorkerInit      Role = "worker's init"
	Program         Role = "program"
	Child           Role = "child" // of a program
)

// Process is one process of an application.
type Process struct {
	Pid       int
	Role      Role
	Component string // "" for the broker's own
	Worker    string // name of its cgroup leaf, "" where it has none
}

func (p Process) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", p.Role, p.Component, p.Worker)) + " (pid " + strconv.Itoa(p.Pid) + ")"
}

// Kill sends a signal.
func (p Process) Kill(s unix.Signal) error { return unix.Kill(p.Pid, s) }

// pids are all processes of the machine.
func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		panic(err)
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// Processes are those of the application: by their cgroups, and of what
// stands in none, by the programs of this run and the application's name.
func (a *Application) Processes() []Process {
	var all []Process
	for _, pid := range pids() {
		if p, ok := a.process(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

func (a *Application) process(pid int) (Process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	if component, leaf := groupOf(dir, a.Name); component != "" {
		p := Process{Pid: pid, Component: component, Worker: leaf, Role: Program}
		executable, _ := os.Readlink(dir + "/exe")
		switch {
		case zombie(dir):
			return p, false // its end is known, its parent only has to look
		case leaf == "init":
			p.Worker = ""
			p.Role = CompartmentInit
			if depth(dir) > depth("/proc/self")+1 {
				p.Role = WorkerInit // not in its own group yet
			}
			if filepath.Base(executable) == "builder" {
				p.Role, p.Component = Builder, ""
			}
		case innerPid(dir) == 1:
			p.Role = WorkerInit
		case component == "supervisor":
			p.Role = Supervisor
		case innerPid(dir) != 2:
			p.Role = Child
		}
		return p, true
	}
	executable, err := os.Readlink(dir + "/exe")
	if err != nil || pid == os.Getpid() || filepath.Dir(executable) != a.site.Dir && filepath.Dir(executable) != a.site.Libexec {
		return Process{}, false
	}
	line, _ := os.ReadFile(dir + "/cmdline")
	words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	switch {
	case executable == a.site.Sandbox && a.before != nil && !a.before.processes[identity(pid)]:
		if a.command == nil || pid != a.Pid() {
			return Process{Pid: pid, Role: Fork}, true
		}
		return Process{Pid: pid, Role: Launcher}, true
	case len(words) > 1 && words[1] == "/run/sandbox/"+a.Name && filepath.Base(executable) == "builder",
		// The launcher's is told whose it is when it has its order.
		len(words) == 2 && filepath.Base(executable) == "builder" && a.before != nil && !a.before.processes[identity(pid)]:
		return Process{Pid: pid, Role: Builder}, true
	case words[0] == "sandbox: "+a.Name:
		return Process{Pid: pid, Role: Monitor}, true
	case len(words) > 1 && words[1] == "/run/sandbox/"+a.Name && filepath.Base(executable) == "sweeper":
		return Process{Pid: pid, Role: Sweeper}, true
	case slices.Contains(words, "/run/sandbox/"+a.Name) && filepath.Base(executable) == "keeper":
		return Process{Pid: pid, Role: Keeper}, true
	}
	return Process{}, false
}

// groupOf finds component and leaf in the cgroup paths of a process, in
// whichever hierarchy says most: a worker has a leaf in some of them only.
func groupOf(dir, application string) (component, leaf string) {
	b, _ := os.ReadFile(dir + "/cgroup")
	for line := range strings.Lines(string(b)) {
		_, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "/sandbox/"+application+"/")
		if !ok {
			continue
		}
		c, l, _ := strings.Cut(path, "/")
		if c == "@monitor" {
			continue // no component's; see address.Limit
		}
		if component == "" || leaf == "init" {
			component, leaf = c, l
		}
	}
	return component, leaf
}

// innerPid is the pid in the innermost pid namespace (proc(5), NSpid).
func innerPid(dir string) int {
	fields := strings.Fields(statusLine(dir, "NSpid:"))
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[len(fields)-1])
	return n
}

// depth is in how many pid namespaces a process is.
func depth(dir string) int { return len(strings.Fields(statusLine(dir, "NSpid:"))) }

func zombie(dir string) bool {
	state := strings.TrimSpace(statusLine(dir, "State:"))
	return state == "" || state[0] == 'Z' || state[0] == 'X'
}

func statusLine(dir, key string) string {
	b, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return rest
		}
	}
	return ""
}

// identity is a pid that no other process has had or will have: with the time
// of its start (proc(5), stat, field 22).
func identity(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return ""
	}
	return strconv.Itoa(pid) + "@" + fields[19]
}

// Of returns the processes of a role; component "" is any.
func (a *Application) Of(role Role, component string) []Process {
	var all []Process
	for _, p := range a.Processes() {
		if p.Role == role && (component == "" || p.Component == component) {
			all = append(all, p)
		}
	}
	return all
}

func itoa(n int) string { return strconv.Itoa(n) }
