// Package launch turns a plan into a running application: it builds what the
// monitor needs, and then becomes the monitor.
//
//	capable.go    whether this root may do what the plan takes
//	proc.go       whether /proc is that of this process
//	directory.go  the application's directory, its lock, and the sweeper
//	keeper.go     who executes for the monitor, which may not
//	realtime.go   the scheduling policy of the caller, which is not passed on
//	builder.go    the builder of compartments, for the first time
//	early.c       the same before Go's runtime
//	execute.go    how each of them is executed
//	signals.go    what ends the launcher
//	shed.go       what the monitor does not keep
//	launch.go     the order of it all
package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bulkhead/broker/confine"
	"bulkhead/broker/enclose"
	"bulkhead/broker/handover"
	"bulkhead/broker/limits"
	"bulkhead/broker/listener"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
	"bulkhead/sandbox/address"
	"bulkhead/sandbox/memfd"
)

// The numbers that the monitor finds its inheritance at are taken before the
// Go runtime opens descriptors of its own: an epoll descriptor that is
// replaced under the runtime's feet ends the process.
func init() {
	for _, number := range []int{handover.HandoverFD, handover.PlanFD} {
		if _, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err != unix.EBADF {
			continue // somebody's already, and so not the runtime's
		}
		null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil || null == number {
			continue
		}
		unix.Dup3(null, number, unix.O_CLOEXEC)
		unix.Close(null)
	}
}

// Programs are the parts of Bulkhead that a launch executes, by path.
type Programs struct {
	Sandbox    string // this program
	Monitor    string
	Builder    string
	Supervisor string
	Init       string
	Stub       string
	Sweeper    string
	Keeper     string
}

// Find finds the programs beside this one: in libexec of its directory (a
// checkout) or in ../libexec/sandbox (an installation).
func Find() (Programs, error) {
	self, err := os.Executable()
	if err != nil {
		return Programs{}, fmt.Errorf("find the programs of sandbox: %w", err)
	}
	here := filepath.Dir(self)
	for _, directory := range []string{filepath.Join(here, "libexec"), filepath.Join(here, "..", "libexec", "sandbox")} {
		p := Programs{
			Sandbox:    self,
			Monitor:    filepath.Join(directory, "monitor"),
			Builder:    filepath.Join(directory, "builder"),
			Supervisor: filepath.Join(directory, "supervisor"),
			Init:       filepath.Join(directory, "init"),
			Stub:       filepath.Join(directory, "stub"),
			Sweeper:    filepath.Join(directory, "sweeper"),
			Keeper:     filepath.Join(directory, "keeper"),
		}
		missing := false
		for _, path := range []string{p.Monitor, p.Builder, p.Supervisor, p.Init, p.Stub, p.Sweeper, p.Keeper} {
			if _, err := os.Stat(path); err != nil {
				missing = true
			}
		}
		if !missing {
			return p, nil
		}
	}
	return Programs{}, fmt.Errorf("find the programs of sandbox: monitor, builder, supervisor, init, stub, sweeper and keeper are neither in %s/libexec nor in %s/../libexec/sandbox; run make build, or install them all", here, here)
}

// ErrRunning says that the application runs already.
type ErrRunning struct {
	Application string
	Pid         string // of its broker
}

func (e *ErrRunning) Error() string {
	return fmt.Sprintf("application %q runs already, its broker is process %s; stop it first, or use --idempotent if that is fine", e.Application, e.Pid)
}

// Beginning is a start of which nobody knows yet what is to be started: its
// builder gets ready while the policy is read.
type Beginning struct {
	Programs
	RealTime string // the scheduling policy that was left, "" where there was no reason
	builder  *builder
}

// Begin finds the programs and starts the builder, which touches nothing before
// it has an order.
func Begin() (*Beginning, error) {
	if err := ownProc(); err != nil {
		return nil, err
	}
	programs, err := Find()
	if err != nil {
		return nil, err
	}
	left, err := leaveRealTime()
	if err != nil {
		return nil, err
	}
	b, err := startBuilder(programs)
	if err != nil {
		return nil, err
	}
	return &Beginning{programs, left, b}, nil
}

// GiveUp ends the builder, where the start came to nothing.
func (b *Beginning) GiveUp() { b.builder.end() }

// Launch starts the application and becomes its broker: when it succeeds it
// does not return. When it fails, nothing of the application is left.
//
// The order: the builder before anything else is known, because its start takes
// as long as the policy does, and it is given nothing to do before the rest; the lock before anything is touched; the sweeper before anything
// is made, so that a kill at any later moment is swept up; sockets before
// compartments, because a port in use is the likeliest failure and the
// cheapest to find; the compartments side by side, because each takes ten
// milliseconds of mostly waiting, and beside all that does not need them: the
// keeper, the monitor's root and the exec, which comes last. The monitor waits
// for the builder.
func Launch(p *plan.Plan, begun *Beginning, own Own, manager *Manager) error {
	programs := begun.Programs
	if err := endBySignals(); err != nil {
		return err
	}
	if err := nameTaken(p, own); err != nil {
		return err
	}
	if err := capable(p, manager); err != nil {
		return err
	}
	if err := limits.Raise(p); err != nil {
		return err
	}
	base, err := StateDirectory()
	if err != nil {
		return err
	}
	d, err := claim(base, p.Application, begun)
	if err != nil {
		return err
	}
	if err := withoutControllers(d.hierarchy, d.group, p, own); err != nil {
		d.abandon()
		return err
	}
	if err := d.protect(p, programs, manager); err != nil {
		d.abandon()
		return err
	}
	planFile, err := memfd.New("plan")
	if err == nil {
		var h *handover.Handover
		if h, err = order(base, p, own, manager, d, planFile, begun.builder); err == nil {
			err = become(programs, h, p, d, planFile)
		}
		begun.builder.end()
	}
	// Not reached after a successful exec.
	d.abandon()
	return err
}

// Own are the components of a plan that are Bulkhead's own, by index.
type Own struct {
	Supervisor int
	Resolver   int // -1 where no grant has a name
}

// nameTaken is an error if a component has the name of one of Bulkhead's own:
// its cgroup, its directory and its lines in the output would be that one's.
func nameTaken(p *plan.Plan, own Own) error {
	for i, c := range p.Components {
		for _, index := range []int{own.Supervisor, own.Resolver} {
			if index >= 0 && i != index && c.Name == p.Components[index].Name {
				at := c.Position
				return fmt.Errorf("%s:%d:%d: component %q has the name of Bulkhead's own %s; choose another", at.File, at.Line, at.Column, c.Name, c.Name)
			}
		}
	}
	return nil
}

// makeGroups makes the application's cgroups, in which the builder makes those
// of components and the monitor's root has a place for them. From here on sweepers
// of other applications leave the group alone that all share.
func (d *directory) makeGroups(base string) error {
	fd, err := unix.Open(base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Flock(fd, unix.LOCK_SH)
	}
	if err != nil {
		return fmt.Errorf("lock the state directory %s: %w", base, err)
	}
	return d.hierarchy.Make(d.group)
}

// order makes what compartments need and what the monitor takes over, and has the
// builder make the rest. The caller ends the builder when there is no monitor to
// do it.
func order(base string, p *plan.Plan, own Own, manager *Manager, d *directory, planFile *os.File, b *builder) (*handover.Handover, error) {
	for i := range p.Components {
		p.Components[i].Number = i
	}
	err := d.makeGroups(base)
	if err != nil {
		return nil, err
	}
	h := &handover.Handover{
		Directory: d.path, Group: d.group, Supervisor: own.Supervisor, Resolver: own.Resolver,
		Builder: b.socket, BuilderPid: b.pid, Lock: d.lock, Sweeper: d.pipe, SweeperPid: d.sweeper,
		Notify: manager.notify, Watchdog: manager.watchdog, Ready: manager.ready, Allowed: -1, Refusals: -1, Outside: -1,
	}
	// Before any socket is made: a socket is looked at by the programs of the
	// group that it was made in.
	if d.addresses, err = address.Limit(d.group, p); err != nil {
		return nil, err
	}
	if a := d.addresses; a != nil {
		h.Allowed, h.Refusals, h.Outside = a.Allowed, a.Refusals, a.Outside.Procs
	}
	for i := range p.Grants {
		g := &p.Grants[i]
		if g.Kind != plan.GrantListen {
			continue
		}
		if err := manager.limited(p, i, d.addresses); err != nil {
			return nil, err
		}
		fd, err := manager.listen(g)
		if err != nil {
			return nil, err
		}
		h.Listeners = append(h.Listeners, handover.Listener{Grant: i, FD: fd})
		d.listeners = append(d.listeners, fd)
	}
	if h.Control, err = listener.Own(filepath.Join(d.path, "control"), unix.SOCK_STREAM, 0o600, -1); err != nil {
		return nil, err
	}
	if h.Status, err = listener.Own(filepath.Join(d.path, "status"), unix.SOCK_STREAM, 0o660, int(p.Control.ReadGroup)); err != nil {
		return nil, err
	}
	if err := sandbox.CompileFilters(p); err != nil {
		return nil, err
	}
	encoded, err := plan.Encode(p)
	if err != nil {
		return nil, err
	}
	if err := memfd.Fill(planFile, encoded); err != nil {
		return nil, fmt.Errorf("write the plan for builder and monitor: %w", err)
	}
	// For sandbox inspect, which compares it with what the kernel says. Only
	// who may control the application may read it: environments hold secrets.
	if err := os.WriteFile(filepath.Join(h.Directory, handover.PlanFile), encoded, 0o600); err != nil {
		return nil, fmt.Errorf("write the plan for sandbox inspect: %w", err)
	}
	first := handover.First{Supervisor: own.Supervisor, Directory: d.path, Group: d.group, Plan: int(planFile.Fd()), Sweeper: d.pipe}
	err = handover.Order{First: &first}.Send(b.socket)
	if errors.Is(err, unix.EPIPE) {
		return nil, b.ended()
	}
	if err != nil {
		return nil, fmt.Errorf("order the compartments: %w", err)
	}
	// While it builds.
	if h.Filter, err = sandbox.CompileFilter(confine.Filter(p, os.Getpid())); err != nil {
		return nil, fmt.Errorf("compile the monitor's own filter: %w", err)
	}
	return h, nil
}

// become executes the monitor in this process, with exactly the descriptors
// that the handover names. The builder is at work meanwhile.
func become(programs Programs, h *handover.Handover, p *plan.Plan, d *directory, planFile *os.File) error {
	reload, err := listener.Own(filepath.Join(d.path, handover.ReloadSocket), unix.SOCK_SEQPACKET, 0o600, -1)
	if err != nil {
		return err
	}
	reloadFile := os.NewFile(uintptr(reload), "reload")
	err = d.startKeeper(programs, planFile, reloadFile)
	reloadFile.Close() // the keeper's alone
	if err != nil {
		return err
	}
	h.Keeper, h.KeeperPid = d.keeper, d.keeperPid
	root, err := enclose.Prepare(d.path, d.group, p, programs.Monitor)
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
		h.Enclosed = true
	}
	h.Mounts, h.Capabilities = handover.MountsOf(d.hierarchy), confine.Mask(confine.Capabilities(p))
	keep := []*int{&h.Lock, &h.Sweeper, &h.Keeper, &h.Builder, &h.Control, &h.Status}
	for _, fd := range []*int{&h.Notify, &h.Ready, &h.Allowed, &h.Refusals, &h.Outside} {
		if *fd >= 0 {
			keep = append(keep, fd)
		}
	}
	for i := range h.Listeners {
		keep = append(keep, &h.Listeners[i].FD)
	}
	// Copies that survive the exec, above the two fixed numbers. When there is
	// no exec they have to go: the sweeper waits for the last of its pipe.
	var copies []int
	defer func() {
		for _, fd := range copies {
			unix.Close(fd)
		}
	}()
	for _, fd := range keep {
		copied, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD, handover.PlanFD+1)
		if err != nil {
			return fmt.Errorf("keep a descriptor for the monitor: %w", err)
		}
		*fd = copied
		copies = append(copies, copied)
	}
	encoded, err := plan.Encode(h)
	if err != nil {
		return err
	}
	handoverFile, err := memfd.Sealed("handover", encoded)
	if err != nil {
		return fmt.Errorf("write the handover for the monitor: %w", err)
	}
	// Both away from the fixed numbers first: one may stand at the other's.
	planFD, err := unix.FcntlInt(planFile.Fd(), unix.F_DUPFD, handover.PlanFD+1)
	if err != nil {
		return fmt.Errorf("keep the plan for the monitor: %w", err)
	}
	handoverFD, err := unix.FcntlInt(handoverFile.Fd(), unix.F_DUPFD, handover.PlanFD+1)
	if err != nil {
		return fmt.Errorf("keep the handover for the monitor: %w", err)
	}
	// From here on this process is good for nothing but the exec: the Go
	// runtime's own descriptors may be among those replaced.
	if err := unix.Dup2(planFD, handover.PlanFD); err != nil {
		return os.NewSyscallError("dup2", err)
	}
	if err := unix.Dup2(handoverFD, handover.HandoverFD); err != nil {
		return os.NewSyscallError("dup2", err)
	}
	unix.CloseOnExec(planFD)
	unix.CloseOnExec(handoverFD)
	if root != nil {
		if err := root.Enter(); err != nil {
			return err
		}
	}
	if err := shed(h.Capabilities); err != nil {
		return fmt.Errorf("take from the monitor what it does not need: %w", err)
	}
	err = unix.Exec(programs.Monitor, []string{"sandbox: " + p.Application}, nil)
	return fmt.Errorf("execute the monitor %s: %w", programs.Monitor, err)
}
