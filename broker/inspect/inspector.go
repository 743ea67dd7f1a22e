package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/sandbox/cgroup"
)

// Depth is how much is looked at.
type Depth int

// The depths. Glance costs a few files of /proc for each process. Full reads
// everything that can be read without the process noticing. Filters also
// reads the system call filters back, for which the kernel stops the process
// for some microseconds (ptrace(2)).
const (
	Glance Depth = iota
	Full
	Filters
)

// Inspector looks at this machine.
type Inspector struct {
	base      string // where applications have their directories
	hierarchy cgroup.Hierarchy
	host      namespaces // the inspector's own
	kernel    Kernel
	boot      time.Time
	ticks     time.Duration

	limits limitFiles
	groups sync.Map // application -> its group
	inits  sync.Map // component's group -> object, what its init executes

	pipesOnce sync.Once
	pipes     map[string][]int // pipe -> pids

	callsMutex sync.Mutex
	calls      map[string]*Calls // by program
}

// New prepares an inspection. base is where applications have their
// directories (launch.StateDirectory).
func New(base string) (*Inspector, error) {
	i := &Inspector{base: base, ticks: time.Second / 100} // USER_HZ is 100 on every architecture but alpha and ia64
	var err error
	if i.hierarchy, err = cgroup.Find(); err != nil {
		return nil, err
	}
	if i.host, err = readNamespaces(os.Getpid()); err != nil {
		return nil, fmt.Errorf("read the inspector's own namespaces: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		abi = 0
	}
	i.kernel = Kernel{Release: unix.ByteSliceToString(u.Release[:]), Landlock: int(abi), Cgroups: "v2"}
	if i.hierarchy.Unified == "" {
		i.kernel.Cgroups = "v1"
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	i.boot = time.Now().Add(-time.Duration(now.Nano()))
	return i, nil
}

func (i *Inspector) report() *Report {
	return &Report{Schema: Schema, Time: time.Now(), Kernel: i.kernel}
}

// Applications looks at applications; no names are all that run.
func (i *Inspector) Applications(depth Depth, names ...string) (*Report, error) {
	all := len(names) == 0
	if all {
		var err error
		if names, err = Running(i.base); err != nil {
			return nil, err
		}
	}
	r := i.report()
	found := make([]*Application, len(names))
	failed := make([]error, len(names))
	var wait sync.WaitGroup
	for k, name := range names {
		wait.Go(func() { found[k], failed[k] = i.application(name, depth) })
	}
	wait.Wait()
	for k := range names {
		// One that ended between the listing and the look is no mistake.
		var gone *NotRunning
		if all && errors.As(failed[k], &gone) {
			continue
		}
		if failed[k] != nil {
			return nil, failed[k]
		}
		r.Applications = append(r.Applications, *found[k])
	}
	compareCompartments(r.Applications)
	return r, nil
}

// NotRunning says that an application does not run.
type NotRunning struct{ Application string }

func (e *NotRunning) Error() string {
	return fmt.Sprintf("application %q does not run", e.Application)
}

// Running are the names of the applications that have their directories in
// base and run.
func Running(base string) ([]string, error) {
	entries, err := os.ReadDir(base)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list the running applications: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(base, e.Name(), "pid")); err == nil {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Process looks at one process of the machine, Bulkhead's or not.
func (i *Inspector) Process(pid int) (*Report, error) {
	p, err := i.process(pid, Filters)
	if errors.Is(err, errGone) {
		return nil, fmt.Errorf("there is no process %d", pid)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("inspect process %d: only its user and root may look at it: %w", pid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect process %d: %w", pid, err)
	}
	i.belong(p)
	r := i.report()
	r.Process = p
	return r, nil
}

// belong looks at the application that a process is part of, which explains its
// descriptors and what it should be.
func (i *Inspector) belong(p *Process) {
	name, rest, _ := strings.Cut(p.Of, "/")
	component, _, _ := strings.Cut(rest, "/")
	if a, err := i.application(name, Full); name != "" && err == nil {
		for k := range a.Components {
			c := &a.Components[k]
			if c.Name != component {
				continue
			}
			for same := range c.processes() {
				if same.PID == p.PID && same.Started.Equal(p.Started) {
					p.Descriptors = same.Descriptors
				}
			}
			if p.Role == "program" || p.Role == "child" {
				p.Exposure = i.expose(p, a, c)
				return
			}
		}
	}
	p.Exposure = i.expose(p, nil, nil)
}

func procPath(pid int, file string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + file
}

// startTime is when a process started, which with its pid says which one it is.
func (i *Inspector) startTime(pid int) (time.Time, error) {
	b, err := readFile(procPath(pid, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	// The name stands in parentheses and may hold anything.
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("%s is not understood", procPath(pid, "stat"))
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is not understood: %w", procPath(pid, "stat"), err)
	}
	return i.boot.Add(time.Duration(ticks) * i.ticks), nil
}
