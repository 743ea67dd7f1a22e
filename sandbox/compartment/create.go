// Package compartment builds compartments: from a component of the plan to the
// kernel's walls round it, with a tiny init inside that starts workers.
//
// libcontainer and mounts are known here and nowhere else. Only the builder links
// this package, because every compartment starts that program again; what starts
// workers afterwards is sandbox/worker, which the monitor links.
package compartment

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/policy/subordinate"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/landlock"
	"bulkhead/sandbox/memfd"
)

// Site is where compartments of one application are built.
type Site struct {
	Application string
	Directory   string // /run/sandbox/APPLICATION
	Group       string // the application's cgroup, below the hierarchies' roots
	Init        string // path of the compartment's init, a static program
	Stub        string // path of what stands for programs that another component replaces
	// Messages receives what an init says when it dies, normally nothing.
	Messages *os.File
	// Underway is called when nothing is left for a compartment but to wait for
	// libcontainer's processes; nil for nobody.
	Underway func()
}

// Compartment is a built compartment whose init runs.
type Compartment struct {
	// Control is the monitor's end of the init's socket. When its last copy
	// is closed the init ends, and everything in the compartment with it.
	Control int
	// Pid is the init's, in the caller's pid namespace; Pidfd is sure.
	Pid   int
	Pidfd int
}

// Create builds the compartment of c and starts its init. It undoes itself
// when it fails. It costs some milliseconds, nearly all of them
// libcontainer's, which is why workers are not started by it.
func Create(site Site, c *plan.Component) (*Compartment, error) {
	return create(site, c, contain)
}

// walls are what the starter of an init finds prepared.
type walls struct {
	site      Site
	component *plan.Component
	root      string   // the skeleton of its root
	missing   []string // controllers that its cgroup cannot have
	passed    []*os.File
	apart     *apart
}

// initProgram is the init among what is passed, from 3 on (init.h). From a
// descriptor: it is no file of the compartment, and the way to it on the host is
// not for the compartment's user.
const initProgram = "/proc/self/fd/5"

// started is an init that runs behind its walls.
type started struct {
	pid, pidfd int
	undo       func()
}

func create(site Site, c *plan.Component, start func(walls) (*started, error)) (_ *Compartment, err error) {
	failed := func(what string, err error) error {
		return fmt.Errorf("create the compartment of component %q: %s: %w", c.Name, what, err)
	}
	if err := enforceable(c); err != nil {
		return nil, err
	}
	root := filepath.Join(site.Directory, "root", c.Compartment())
	// What an earlier compartment of this component left; its mounts went
	// with its mount namespace.
	for _, old := range []string{root, filepath.Join(stateOf(site), c.Compartment())} {
		if err := os.RemoveAll(old); err != nil {
			return nil, failed("remove what an earlier one left", err)
		}
	}
	if err := skeleton(root, c.Root, int(c.Hosts.Init)); err != nil {
		return nil, failed("make its root", err)
	}
	spec, err := newSpec(c, landlock.ABI(), setsGroups(c))
	if err != nil {
		return nil, failed("write its spec", err)
	}
	specFile, err := memfd.Sealed("spec", spec)
	if err != nil {
		return nil, failed("write its spec", err)
	}
	defer specFile.Close()
	initFile, err := os.Open(site.Init)
	if err != nil {
		return nil, failed("open its init", err)
	}
	defer initFile.Close()

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, failed("make its control socket", err)
	}
	far := os.NewFile(uintptr(pair[1]), "control")
	defer far.Close()
	defer func() {
		if err != nil {
			unix.Close(pair[0])
		}
	}()
	hierarchy, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	missing, err := hierarchy.Missing(site.Group)
	if err != nil {
		return nil, failed("bound its init", err)
	}
	w := walls{site, c, root, missing, []*os.File{far, specFile, initFile}, &apart{}}
	defer w.apart.end()
	s, err := start(w)
	if err != nil {
		return nil, fmt.Errorf("create the compartment of component %q: %w", c.Name, err)
	}
	defer func() {
		if err != nil {
			unix.Close(s.pidfd)
			s.undo()
		}
	}()
	if err := weighable(hierarchy, path.Join(site.Group, c.Compartment(), "init"), c); err != nil {
		return nil, err
	}
	if err := greeted(pair[0], s.pidfd); err != nil {
		return nil, failed("wait for its init", err)
	}
	return &Compartment{Control: pair[0], Pid: s.pid, Pidfd: s.pidfd}, nil
}

// stateOf is where libcontainer keeps its state: beside the roots, because that
// is in memory. No component has a dot in its name.
func stateOf(site Site) string { return filepath.Join(site.Directory, "root", ".libcontainer") }

// contain starts an init by libcontainer.
func contain(w walls) (_ *started, err error) {
	failed := func(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
	process := &libcontainer.Process{
		Args:       []string{initProgram},
		Cwd:        "/",
		Init:       true,
		Stdin:      nil,
		Stderr:     w.site.Messages,
		ExtraFiles: w.passed,
	}
	settings, all := config(w.site, w.component, w.root, w.missing), mounts(w.component.Root, w.site.Stub)
	settings.Mounts = all
	if os.Geteuid() == 0 {
		settings.Mounts = all[:1] // its /proc, which has to be mounted inside
	} else if err := os.Setenv("PATH", subordinate.Path); err != nil { // where libcontainer looks for newuidmap and newgidmap
		return nil, failed("say where newuidmap is", err)
	}
	container, err := newContainer(stateOf(w.site), w.component.Compartment(), settings)
	if err != nil {
		return nil, failed("libcontainer refuses it", err)
	}
	undo := func() {
		// Where no process could be started, libcontainer's Signal would
		// look at the one that is not there.
		if _, none := process.Pid(); none == nil {
			container.Signal(unix.SIGKILL)
		}
		container.Destroy()
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	group, err := w.inside(all[1:], func() error {
		if w.site.Underway != nil {
			w.site.Underway()
		}
		if err := container.Start(process); err != nil {
			if settings.RootlessEUID && len(settings.UIDMappings)+len(settings.GIDMappings) > 2 {
				err = fmt.Errorf("%w; if newuidmap or newgidmap says something above: its ids have to be in /etc/subuid and /etc/subgid still", err)
			}
			return failed("start its init", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pid, err := process.Pid()
	if err != nil {
		return nil, failed("find its init", err)
	}
	// libcontainer is done with opening devices.
	if err := w.settle(group, pid); err != nil {
		return nil, err
	}
	if err := keepProcessors(pid); err != nil {
		return nil, failed("keep its init on the processors of sandbox run", err)
	}
	if err := container.Exec(); err != nil {
		return nil, failed("execute its init", err)
	}
	// The init is this process's child and not yet waited for, so the pid
	// is its own still.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, failed("open a pidfd of its init", err)
	}
	return &started{pid, pidfd, undo}, nil
}

// inside starts an init where it inherits what is made for it from outside: for
// root these mounts, and its groups on cgroup v1.
func (w walls) inside(mounts []*configs.Mount, start func() error) (group initGroup, err error) {
	err = w.apart.run(func() (err error) {
		if os.Geteuid() == 0 {
			if err := furnish(w.root, mounts); err != nil {
				return fmt.Errorf("furnish its root: %w", err)
			}
		}
		if group, err = joinGroup(w.site, w.component); err != nil {
			return fmt.Errorf("make its cgroups: %w", err)
		}
		return start()
	})
	return group, err
}

// settle does with an init's groups what could not be done before it ran.
func (w walls) settle(group initGroup, pid int) error {
	if err := group.allow(deviceRules(w.component.Root)); err != nil {
		return fmt.Errorf("set the rules for devices: %w", err)
	}
	if err := group.moveBeside(pid); err != nil {
		return fmt.Errorf("move its init to its cgroup: %w", err)
	}
	return nil
}

// apart is a thread that ends with what it runs: that may join groups and
// namespaces which what it starts shall inherit.
type apart struct{ thread int }

func (a *apart) run(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		a.thread = unix.Gettid()
		err := punctual()
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// end waits until the thread is gone. Until then this process is in those groups
// with it, and would end with them when the sweeper empties them after a start
// that failed. It takes the kernel a millisecond to part with its mounts.
func (a *apart) end() {
	for a.thread != 0 && unix.Tgkill(unix.Getpid(), a.thread, 0) != unix.ESRCH {
		time.Sleep(20 * time.Microsecond)
	}
}

// enforceable fails where this kernel lacks a wall that the component does not
// call optional.
func enforceable(c *plan.Component) error {
	if landlock.ABI() == 0 && !slices.Contains(c.Optional, "landlock") {
		return unenforceable(c, "landlock", "this kernel has no Landlock")
	}
	return nil
}

// weighable does so for the weight of disk access, which only a group that is there
// can tell: that of the component's init.
func weighable(h cgroup.Hierarchy, group string, c *plan.Component) error {
	switch {
	case c.Limits.IOWeight == 0 || slices.Contains(c.Optional, "io") || slices.Contains(c.Optional, "cgroup"):
	case h.Unified == "":
		return unenforceable(c, "io", "limits.io-weight needs cgroup v2")
	case !h.WeighsDisks(group):
		return unenforceable(c, "io", "limits.io-weight needs a kernel that weighs disk access, and "+path.Join(h.Unified, group)+" has no io.weight (CONFIG_BLK_CGROUP_IOCOST)")
	}
	return nil
}

func unenforceable(c *plan.Component, wall, why string) error {
	at := c.Position
	return fmt.Errorf("%s:%d:%d: component %q: %s; run it where the kernel has it, or write optional: [%s]",
		at.File, at.Line, at.Column, c.Name, why, wall)
}

// initCapabilities are what the init needs in its own user namespace to make
// namespaces and mounts for workers and to become the worker's user. They
// mean nothing outside of it.
var initCapabilities = []string{"CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_OVERRIDE"}

func config(site Site, c *plan.Component, root string, missing []string) *configs.Config {
	namespaces := configs.Namespaces{
		{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID},
		{Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
	}
	if !c.HostNetwork {
		// Empty, normally without even a loopback that is up: every socket
		// comes from the monitor.
		namespaces = append(namespaces, configs.Namespace{Type: configs.NEWNET})
	}
	var networks []*configs.Network
	if c.Loopback {
		networks = []*configs.Network{{Type: "loopback"}}
	}
	users, groups := maps(c)
	ordinary := os.Geteuid() != 0
	keep := append(append([]string(nil), initCapabilities...), c.Capabilities...)
	return &configs.Config{
		Rootfs:     root,
		Readonlyfs: true,
		Hostname:   c.Hostname,
		Namespaces: namespaces,
		Networks:   networks,
		Capabilities: &configs.Capabilities{
			Bounding: keep, Effective: keep, Permitted: keep,
		},
		NoNewPrivileges: true,
		NoNewKeyring:    false,
		UIDMappings:     users,
		GIDMappings:     groups,
		RootlessEUID:    ordinary,
		RootlessCgroups: ordinary,
		RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		// Counted for each user namespace (namespaces(7), inotify(7)): what
		// no cgroup limits.
		Sysctl: map[string]string{
			"user.max_user_namespaces":   "0",
			"user.max_inotify_instances": "64",
			"user.max_inotify_watches":   "8192",
		},
		Cgroups: &cgroups.Cgroup{
			// The device rules take CAP_BPF on cgroup v2: an ordinary user
			// does without this second wall.
			Rootless:  ordinary,
			Path:      filepath.Join(site.Group, c.Compartment(), "init"),
			Resources: initResources(c, missing),
		},
	}
}

// initResources bound what a flaw in the init could cost, which is tiny and forks
// workers that move to leaves with limits of their own; as far as there are
// controllers. Without them the start has failed already, or the policy calls the
// walls optional.
func initResources(c *plan.Component, missing []string) *cgroups.Resources {
	r := &cgroups.Resources{Devices: deviceRules(c.Root)}
	if !slices.Contains(missing, "memory") {
		r.Memory = initMemory
	}
	if !slices.Contains(missing, "pids") {
		r.PidsLimit = ptr(int64(initTasks))
	}
	if !slices.Contains(missing, "cpu") {
		r.CpuShares = 1024
	}
	return r
}

const (
	initMemory = 64 << 20 // bytes, workers that are just being forked included
	initTasks  = 512
)

func ptr[T any](v T) *T { return &v }

// deviceRules let the devices of the plan be used and no others. In a user
// namespace no node can be made anyway; this is the second wall.
func deviceRules(entries []plan.Entry) []*devices.Rule {
	rules := []*devices.Rule{{
		Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard,
		Permissions: "rwm", Allow: false,
	}}
	for _, e := range entries {
		if e.Kind != plan.EntryDevice {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(e.Source, &st) != nil {
			continue // its mount fails later, with the right message
		}
		kind := devices.CharDevice
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			kind = devices.BlockDevice
		}
		rules = append(rules, &devices.Rule{
			Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
			Permissions: "rw", Allow: true,
		})
	}
	return rules
}
