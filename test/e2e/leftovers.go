package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Snapshot is what the machine was like before an application ran.
type Snapshot struct {
	processes   map[string]bool // identities
	mounts      map[string]bool
	namespaces  map[string]namespaces // by process
	descriptors int                   // of this process
}

// namespaces are names like "mnt:[4026531841]".
type namespaces map[string]bool

func (a *Application) snapshot() *Snapshot {
	s := &Snapshot{
		processes: map[string]bool{}, mounts: map[string]bool{},
		namespaces: map[string]namespaces{}, descriptors: len(descriptors(os.Getpid())),
	}
	for _, pid := range pids() {
		id := identity(pid)
		s.processes[id] = true
		s.namespaces[id] = namespacesOf(pid)
	}
	for _, line := range mounts() {
		s.mounts[line] = true
	}
	return s
}

// note remembers the namespaces of the application as it runs.
func (a *Application) note() {
	for _, p := range a.Processes() {
		for name := range namespacesOf(p.Pid) {
			a.seen[name] = true
		}
	}
	for name := range namespacesOf(os.Getpid()) {
		delete(a.seen, name)
	}
}

func namespacesOf(pid int) namespaces {
	all := namespaces{}
	dir := "/proc/" + strconv.Itoa(pid) + "/ns/"
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if name, err := os.Readlink(dir + e.Name()); err == nil {
			all[name] = true
		}
	}
	return all
}

func mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// descriptors are what a process has open, by number.
func descriptors(pid int) map[string]string {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	all := map[string]string{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if target, err := os.Readlink(dir + e.Name()); err == nil {
			all[e.Name()] = target
		}
	}
	return all
}

// held are the descriptors of a process but for the files of leaves of workers'
// cgroups. Those stay open for the next workers, as many as there were workers at
// once, which is another number each time; TestNothingLeaks bounds that.
func held(pid int) map[string]string {
	all := descriptors(pid)
	maps.DeleteFunc(all, func(_, target string) bool { return strings.HasPrefix(target, "/sys/fs/cgroup/") })
	return all
}

// ExpectNothingLeft fails the test for everything that is left after a time.
func (a *Application) ExpectNothingLeft(within time.Duration) {
	a.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		left := a.Leftovers()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			const most = 20
			a.t.Errorf("%s left %d things behind, %v after its end:\n\t%s", a.Name, len(left), within, strings.Join(left[:min(most, len(left))], "\n\t"))
			return
		}
	}
}

// Leftovers is everything of the application that is on the machine now and
// was not before: processes, cgroups, mounts, files of its state, sockets,
// listening ports, namespaces that something keeps, descriptors of ours.
func (a *Application) Leftovers() []string {
	var left []string
	add := func(kind string, what any) { left = append(left, fmt.Sprintf("%s: %v", kind, what)) }
	for _, p := range a.Processes() {
		add("process", p)
	}
	for _, dir := range a.Groups() {
		add("cgroup", dir)
	}
	for _, line := range mounts() {
		if !a.before.mounts[line] && (strings.Contains(line, a.Name) || strings.Contains(line, a.Dir)) {
			add("mount", line)
		}
	}
	filepath.WalkDir("/run/sandbox/"+a.Name, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			add("state", path)
		}
		return nil
	})
	filepath.WalkDir(a.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type()&fs.ModeSocket != 0 {
			add("socket file", path)
		}
		return nil
	})
	for _, line := range readLines("/proc/net/unix") {
		if strings.Contains(line, a.Dir+"/") || strings.Contains(line, "/run/sandbox/"+a.Name+"/") || strings.Contains(line, "@"+a.Name) {
			add("unix socket", line)
		}
	}
	for _, port := range a.ports {
		if listens(port) {
			add("listening port", port)
		}
	}
	for _, name := range a.keptNamespaces() {
		add("namespace", name)
	}
	if now := descriptors(os.Getpid()); len(now) > a.before.descriptors+descriptorSlack {
		add("descriptors of this process", now)
	}
	return left
}

// descriptorSlack is what the Go runtime and a run's own pipes may have open
// at the moment of looking.
const descriptorSlack = 8

// Groups are the application's cgroups in all hierarchies.
func (a *Application) Groups() []string {
	var all []string
	for _, line := range mounts() {
		fields := strings.Fields(line)
		if !strings.Contains(line, " - cgroup") {
			continue
		}
		filepath.WalkDir(fields[4], func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil
			}
			if e.Name() == a.Name || strings.Contains(path, "/"+a.Name+"/") {
				all = append(all, path)
			}
			return nil
		})
	}
	return all
}

// keptNamespaces are those of the application that something other than its
// processes keeps alive: a mount, a descriptor of this process, or a process
// that was there before. Numbers are used again by the kernel, so one that a
// newer process has says nothing; nor does that of another application's, which
// moves into namespaces of its own as it starts.
func (a *Application) keptNamespaces() []string {
	var kept []string
	for _, line := range mounts() {
		for name := range a.seen {
			if !a.before.mounts[line] && strings.Contains(line, " "+name+" ") {
				kept = append(kept, name+" by a mount: "+line)
			}
		}
	}
	for number, target := range descriptors(os.Getpid()) {
		if a.seen[target] {
			kept = append(kept, target+" by our descriptor "+number)
		}
	}
	for _, pid := range pids() {
		before, old := a.before.namespaces[identity(pid)]
		if !old || isBulkheads(pid) {
			continue
		}
		for name := range namespacesOf(pid) {
			if a.seen[name] && !before[name] {
				kept = append(kept, fmt.Sprintf("%s by process %d", name, pid))
			}
		}
	}
	return kept
}

// isBulkheads says whether a process runs a program of Bulkhead's, in whatever
// directory.
func isBulkheads(pid int) bool {
	executable, _ := os.Readlink("/proc/" + itoa(pid) + "/exe")
	name, _, _ := strings.Cut(filepath.Base(executable), " ") // of one that was removed: " (deleted)"
	return slices.Contains([]string{"sandbox", "builder", "monitor", "supervisor", "init", "sweeper", "keeper", "stub"}, name)
}

func readLines(path string) []string {
	b, _ := os.ReadFile(path)
	return strings.Split(string(b), "\n")
}

// listens says whether something listens on a TCP port (proc_net(5): state 0A).
func listens(port int) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, line := range readLines(file) {
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == "0A" && strings.HasSuffix(fields[1], suffix) {
				return true
			}
		}
	}
	return false
}
