package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// Process is the audit of one process.
type Process struct {
	PID        int    `json:"pid"`
	InnerPID   int    `json:"inner-pid"` // in its own pid namespace
	Parent     int    `json:"parent"`
	Name       string `json:"name"`
	Executable string `json:"executable"`
	Role       string `json:"role,omitempty"` // of a Bulkhead process: program, child, starting, worker-init, compartment-init, monitor
	// Of is the place of a Bulkhead process: APPLICATION/COMPONENT/WORKER.
	Of       string    `json:"of,omitempty"`
	Started  time.Time `json:"started"`
	Threads  int       `json:"threads"`
	Resident uint64    `json:"resident"` // bytes

	Identity        Identity     `json:"identity"`
	Namespaces      []Namespace  `json:"namespaces"`
	Capabilities    Capabilities `json:"capabilities"`
	NoNewPrivileges bool         `json:"no-new-privileges"`
	Seccomp         Seccomp      `json:"seccomp"`
	Cgroup          *Cgroup      `json:"cgroup,omitempty"`
	Walls           []Wall       `json:"walls"`

	Mounts   []Mount  `json:"mounts,omitempty"`
	Writable []string `json:"writable,omitempty"`            // mount points
	Both     []string `json:"writable-executable,omitempty"` // mount points
	Mappings int      `json:"writable-executable-mappings"`  // of its memory

	// From here on: Full and Filters only.
	Label       string       `json:"label,omitempty"` // of the security module
	Landlock    string       `json:"landlock,omitempty"`
	Dumpable    string       `json:"dumpable,omitempty"` // yes, no, unknown
	Root        string       `json:"root,omitempty"`
	Directory   string       `json:"directory,omitempty"`
	Rlimits     []Rlimit     `json:"rlimits,omitempty"`
	Environment []string     `json:"environment,omitempty"` // names only
	Descriptors []Descriptor `json:"descriptors,omitempty"`
	Exposure    *Exposure    `json:"exposure,omitempty"`
	Unseen      []string     `json:"unseen,omitempty"` // what could not be read, and why

	spaces   namespaces
	programs int // that look at the addresses it uses
	depth    Depth
}

// Capabilities are the five sets (capabilities(7)).
type Capabilities struct {
	Inheritable []string `json:"inheritable"`
	Permitted   []string `json:"permitted"`
	Effective   []string `json:"effective"`
	Bounding    []string `json:"bounding"`
	Ambient     []string `json:"ambient"`
}

// errGone says that a process ended before or while it was looked at.
var errGone = errors.New("the process has ended")

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// process audits one process. A pid is a guess: a pidfd that is opened first
// and asked again at the end makes sure that all facts are of one process.
func (i *Inspector) process(pid int, depth Depth) (*Process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == unix.ESRCH:
		return nil, errGone
	case err == unix.EINVAL || err == unix.ENOENT: // EINVAL before Linux 6.9
		return nil, fmt.Errorf("%d is a thread of a process; inspect the process", pid)
	case err != nil:
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	p, err := i.look(pid, pidfd, depth)
	if gone(err) || unix.PidfdSendSignal(pidfd, 0, nil, 0) == unix.ESRCH {
		return nil, errGone
	}
	return p, err
}

func (i *Inspector) look(pid, pidfd int, depth Depth) (*Process, error) {
	// First: a worker that has executed its program by now has its walls too,
	// and all that is read later shows them.
	executable, executableError := os.Readlink(procPath(pid, "exe"))
	binary := binaryOf(pid)
	s, err := readStatus(pid)
	if err != nil {
		return nil, err
	}
	p := &Process{
		Executable: executable,
		PID:        pid, Parent: s.parent, Name: s.name, Threads: s.threads, Resident: s.resident,
		Identity:     Identity{UIDs: s.uids, GIDs: s.gids, Groups: s.groups},
		Capabilities: s.capabilities, NoNewPrivileges: s.noNewPrivileges,
		Seccomp: Seccomp{Mode: seccompMode(s.seccomp), Loaded: s.filters},
		depth:   depth,
	}
	if len(s.inner) > 0 {
		p.InnerPID = s.inner[len(s.inner)-1]
	}
	if p.Started, err = i.startTime(pid); err != nil {
		return nil, err
	}
	if p.spaces, err = readNamespaces(pid); err != nil {
		return nil, err // of others' processes an ordinary user sees none: there is nothing to say
	}
	p.Namespaces = p.spaces.list(i.host)
	if p.Cgroup, err = i.readCgroup(pid); err != nil {
		return nil, err
	}
	switch {
	case executableError != nil && s.resident == 0 && gone(executableError):
		p.Executable = "[" + p.Name + "]" // a thread of the kernel's, which has none
	case executable == "/":
		p.Executable = "[" + p.Name + "]" // the monitor's, whose first root is gone and the file's path with it
	case executableError != nil:
		p.Unseen = append(p.Unseen, "its executable: "+executableError.Error())
	}
	i.place(p, binary)
	p.read("its id maps", func() (err error) {
		if p.Identity.UIDMap, err = readMap(pid, "uid_map"); err == nil {
			p.Identity.GIDMap, err = readMap(pid, "gid_map")
		}
		return
	})
	p.read("its mounts", func() (err error) { p.Mounts, err = readMounts(pid); return })
	p.Writable = mountPoints(p.Mounts, func(m *Mount) bool { return m.Writes && !m.device() })
	p.Both = mountPoints(p.Mounts, func(m *Mount) bool { return m.Writes && m.Execute && !m.device() })
	p.read("its memory map", func() (err error) { p.Mappings, err = writableExecutable(pid); return })
	p.programs = i.programs(pid)
	if depth >= Full {
		i.lookClosely(p, pidfd)
	}
	p.Walls = walls(p)
	return p, nil
}

// read notes what could not be read instead of giving up the rest.
func (p *Process) read(what string, f func() error) {
	if err := f(); err != nil {
		p.Unseen = append(p.Unseen, what+": "+err.Error())
	}
}

func (i *Inspector) lookClosely(p *Process, pidfd int) {
	pid := p.PID
	p.read("its root", func() (err error) { p.Root, err = os.Readlink(procPath(pid, "root")); return })
	p.read("its working directory", func() (err error) { p.Directory, err = os.Readlink(procPath(pid, "cwd")); return })
	p.read("its resource limits", func() (err error) { p.Rlimits, err = readRlimits(pid); return })
	p.read("its environment", func() (err error) { p.Environment, err = environmentNames(pid); return })
	p.Label = strings.TrimRight(readText(procPath(pid, "attr/current")), "\n\x00")
	p.Landlock = i.landlock()
	p.Dumpable = dumpable(p)
	p.read("its descriptors", func() (err error) { p.Descriptors, err = i.descriptors(p, pidfd); return })
	if p.depth >= Filters && p.Seccomp.Mode == "filter" {
		p.read("its system call filters", func() (err error) { p.Seccomp.Filters, err = readFilters(pid); return })
	}
	p.Seccomp.summarize()
}

// landlock is as much as the kernel tells: a process's domain cannot be read
// from outside (Linux 6.18).
func (i *Inspector) landlock() string {
	if i.kernel.Landlock == 0 {
		return "none: this kernel has no Landlock"
	}
	return "unknown: the kernel does not tell whether a process has a Landlock domain"
}

// dumpable is read off the owner of a file in /proc/PID: the kernel gives those of
// a process that is not dumpable to root, but for the directory (proc(5)): to the root of its user
// namespace where that maps one. Root's own look the same either way, and so do an ordinary user's
// who are mapped to that root.
func dumpable(p *Process) string {
	var st unix.Stat_t
	if p.Identity.UIDs[1] == 0 || unix.Stat(procPath(p.PID, "environ"), &st) != nil {
		return "unknown"
	}
	for _, r := range p.Identity.UIDMap {
		if r.Inside == 0 && r.Outside == p.Identity.UIDs[1] {
			return "unknown"
		}
	}
	if st.Uid == p.Identity.UIDs[1] {
		return "yes"
	}
	return "no"
}

// writableExecutable counts the mappings of memory that can be both written
// and executed, where an attacker's code could be put.
func writableExecutable(pid int) (int, error) {
	b, err := readFile(procPath(pid, "maps"))
	if err != nil {
		return 0, err
	}
	count := 0
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.Contains(fields[1], "w") && strings.Contains(fields[1], "x") {
			count++
		}
	}
	return count, nil
}

// binaryOf is the file that a process executes; nothing where that cannot be
// seen.
func binaryOf(pid int) object {
	var st unix.Stat_t
	if unix.Stat(procPath(pid, "exe"), &st) != nil {
		return object{}
	}
	return object{st.Dev, st.Ino}
}

// place reads off the cgroup what a process is to Bulkhead. Its pid alone does
// not say which ones are Bulkhead's inits: a program may make pid namespaces
// of its own. The file that it executes does, which no compartment has.
func (i *Inspector) place(p *Process, binary object) {
	application, group := i.applicationAt(p.Cgroup.Path)
	below, ok := strings.CutPrefix(p.Cgroup.Path, group+"/")
	parts := strings.Split(below, "/")
	if application == "" || !ok || len(parts) < 2 {
		return
	}
	p.Of = application + "/" + plan.ComponentOf(parts[0]) + "/" + parts[1]
	switch init := i.initBinary(group + "/" + parts[0]); {
	case binary != init || init == object{}:
		p.Role = "child"
		if p.InnerPID == 2 {
			p.Role = "program"
		}
	case parts[1] == "init" && p.InnerPID == 1:
		p.Role = "compartment-init"
	case p.InnerPID == 1:
		p.Role = "worker-init"
	default:
		p.Role = "starting" // forked, and on its way to its program
	}
}

// applicationAt finds the application that a cgroup is of, and its group. Others
// may call groups of theirs as Bulkhead does, so beneath another group than the
// root that counts only where the application's broker has its groups.
func (i *Inspector) applicationAt(at string) (application, group string) {
	const mark = "/" + cgroup.Root + "/"
	for from := 0; ; {
		k := strings.Index(at[from:], mark)
		if k < 0 {
			return "", ""
		}
		k += from
		name, _, _ := strings.Cut(at[k+len(mark):], "/")
		group = at[:k] + mark + name
		if k == 0 {
			return name, group
		}
		if its, err := i.groupOf(name); err == nil && its == group {
			return name, group
		}
		from = k + 1
	}
}

// initBinary is what the init of the compartment with a group executes.
func (i *Inspector) initBinary(group string) object {
	if known, ok := i.inits.Load(group); ok {
		return known.(object)
	}
	var found object
	for field := range strings.FieldsSeq(readText(i.memoryDirectory(group + "/init/cgroup.procs"))) {
		pid, _ := strconv.Atoi(field)
		if s, err := readStatus(pid); err == nil && len(s.inner) > 0 && s.inner[len(s.inner)-1] == 1 {
			found = binaryOf(pid)
			break
		}
	}
	i.inits.Store(group, found)
	return found
}
