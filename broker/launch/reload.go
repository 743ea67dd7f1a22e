package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/confine"
	"bulkhead/broker/handover"
	"bulkhead/broker/listener"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/memfd"
)

// Present reads the plan of a running application from its directory.
func Present(directory string) (*plan.Plan, error) {
	b, err := os.ReadFile(filepath.Join(directory, handover.PlanFile))
	if err != nil {
		return nil, fmt.Errorf("read the plan that runs: %w", err)
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		return nil, fmt.Errorf("read the plan that runs: %w", err)
	}
	return p, nil
}

// Fit makes a compiled policy the next plan of an application that runs
// another: the supervisor stays, and compartments that change get names beside
// those that run. It says which components stay as they are (plan.Same).
// resolver is the index of the resolver in next, or -1; directory is the
// application's.
func Fit(directory string, now, next *plan.Plan, resolver int) ([]int, error) {
	if next.Application != now.Application {
		return nil, fmt.Errorf("the application %q runs, and %s describes %q", now.Application, next.Source, next.Application)
	}
	next.Components = append(next.Components, now.Components[len(now.Components)-1])
	own := Own{len(next.Components) - 1, resolver}
	if err := nameTaken(next, own); err != nil {
		return nil, err
	}
	hierarchy, group, err := applicationGroup(directory, now.Application)
	if err != nil {
		return nil, err
	}
	if err := withoutControllers(hierarchy, group, next, own); err != nil {
		return nil, err
	}
	if next.Control.Metrics != now.Control.Metrics {
		return nil, errors.New("control.metrics cannot be changed while the application runs; stop it and start it again")
	}
	if more := confine.Beyond(now, next); more != "" {
		return nil, fmt.Errorf("%s: it takes a monitor that may do more (%s), and the one that runs has given that up for good; stop the application and start it again", next.Source, more)
	}
	same, err := plan.Same(now, next)
	if err != nil {
		return nil, err
	}
	if resolver >= 0 && same[resolver] < 0 || resolver < 0 && hasNames(now) {
		return nil, errors.New("the names of grants cannot be changed while the application runs; stop it and start it again")
	}
	// One that is free for sure: the programs in the kernel know those of
	// before until the next reload.
	number := 0
	for i := range now.Components {
		number = max(number, now.Components[i].Number)
	}
	for i := range next.Components {
		c := &next.Components[i]
		if same[i] < 0 {
			number++
			c.Number = number
		}
		for k := range now.Components {
			was := &now.Components[k]
			switch {
			case was.Name != c.Name:
			case same[i] == k:
				c.Generation, c.Number, c.Syscalls.Program = was.Generation, was.Number, was.Syscalls.Program
			default:
				c.Generation = was.Generation + 1
			}
		}
	}
	return same, nil
}

func hasNames(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Grants, func(g plan.Grant) bool { return g.Kind == plan.GrantConnect && g.Host != "" })
}

// Reload hands a plan that fits to the monitor of the running application and
// waits until it is in force. What is over after that, or after a failure, is
// cleaned up here and not by the monitor: directories, groups, socket files.
func Reload(directory string, now, next *plan.Plan) error {
	if err := sandbox.CompileFilters(next); err != nil {
		return err
	}
	b, err := plan.Encode(next)
	if err != nil {
		return err
	}
	sealed, err := memfd.Sealed("plan", b)
	if err != nil {
		return fmt.Errorf("write the plan for the monitor: %w", err)
	}
	defer sealed.Close()
	// A second reload would clean up what this one builds.
	lock, err := os.OpenFile(filepath.Join(directory, handover.PlanFile), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("lock the plan that runs: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.New("another reload is under way; try again when it is done")
	}
	_, group, err := applicationGroup(directory, now.Application)
	if err != nil {
		return err
	}
	asked := ask(filepath.Join(directory, handover.ReloadSocket), int(sealed.Fd()))
	present, err := Present(directory)
	if err != nil {
		return errors.Join(asked, err)
	}
	cleaned := clean(directory, group, present, now, next)
	if asked != nil {
		return asked
	}
	return errors.Join(cleaned, settleFiles(directory, now, next))
}

// ask sends the plan and waits for the answer.
func ask(socket string, planFD int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return fmt.Errorf("connect to %s: %w", socket, err)
	}
	// The same user as this one: who else listens there is not the monitor.
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("connect to %s: somebody else listens there", socket)
	}
	var m wire.Message
	b, err := m.Begin(wire.Header{Kind: wire.Request, Op: wire.Apply, ID: 1, FDs: 1}).Bytes()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, b, unix.UnixRights(planFD), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("hand the plan over: %w", err)
	}
	var answer [wire.MaximumSize]byte
	n := 0
	for {
		if n, err = unix.Read(fd, answer[:]); err != unix.EINTR {
			break
		}
	}
	if err != nil || n == 0 {
		return errors.New("the application did not take the policy: it ended, or this process is not in the user and pid namespace that it was started in (then its keeper says so in the application's output)")
	}
	h, body, err := wire.Parse(answer[:n], 0)
	switch {
	case err != nil || h.Kind != wire.Reply || h.Op != wire.Apply:
		return errors.New("the monitor's answer is not understood; it is of another build of sandbox")
	case h.Status != 0:
		return errors.New(body.String())
	}
	return nil
}

// applicationGroup is the cgroup of a running application. The monitor is not
// asked: where it is says where its groups are (cgroup.Leave).
func applicationGroup(directory, application string) (cgroup.Hierarchy, string, error) {
	b, err := os.ReadFile(filepath.Join(directory, "pid"))
	if err != nil {
		return cgroup.Hierarchy{}, "", fmt.Errorf("find the broker: %w", err)
	}
	h, err := cgroup.Find()
	if err != nil {
		return h, "", err
	}
	base, err := h.BaseOf(strings.TrimSpace(string(b)))
	if err != nil {
		return h, "", err
	}
	return h, cgroup.Application(base, application), nil
}

// cleanPatience is how long a group may be busy after its last process ended.
const cleanPatience = 2 * time.Second

// clean removes what compartments leave that are not the present plan's.
func clean(directory, group string, present *plan.Plan, others ...*plan.Plan) error {
	used := map[string]bool{}
	for i := range present.Components {
		used[present.Components[i].Compartment()] = true
	}
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	var failed error
	done := map[string]bool{}
	for _, p := range others {
		for i := range p.Components {
			name := p.Components[i].Compartment()
			if used[name] || done[name] {
				continue
			}
			done[name] = true
			for _, left := range []string{filepath.Join(directory, "root", name), filepath.Join(directory, "root", ".libcontainer", name)} {
				failed = errors.Join(failed, os.RemoveAll(left))
			}
			for _, left := range h.Directories(filepath.Join(group, name)) {
				failed = errors.Join(failed, removeGroup(left))
			}
		}
	}
	return failed
}

// removeGroup removes a cgroup and those in it, in which nothing runs any more.
func removeGroup(path string) error {
	for deadline := time.Now().Add(cleanPatience); ; time.Sleep(2 * time.Millisecond) {
		inner, err := os.ReadDir(path)
		if os.IsNotExist(err) {
			return nil
		}
		for _, e := range inner {
			if e.IsDir() {
				unix.Rmdir(filepath.Join(path, e.Name()))
			}
		}
		err = unix.Rmdir(path)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
}

// settleFiles makes the files of sockets what the new plan says: the files of
// those that are not granted any more go.
func settleFiles(directory string, now, next *plan.Plan) error {
	var failed error
	for i := range now.Grants {
		g := &now.Grants[i]
		if g.Kind != plan.GrantListen || !strings.HasPrefix(g.Network, "unix") || !strings.HasPrefix(g.Address, "/") {
			continue
		}
		kept := false
		for k := range next.Grants {
			other := &next.Grants[k]
			if !plan.SameSocket(g, other) {
				continue
			}
			kept = true
			if other.Mode != 0 && other.Mode != g.Mode {
				failed = errors.Join(failed, os.Chmod(g.Address, os.FileMode(other.Mode)))
			}
		}
		if !kept && listener.Deserted(g.Address) {
			failed = errors.Join(failed, os.Remove(g.Address))
		}
	}
	if next.Control.ReadGroup != now.Control.ReadGroup && os.Geteuid() == 0 {
		failed = errors.Join(failed, os.Chown(filepath.Join(directory, "status"), 0, int(next.Control.ReadGroup)))
	}
	return failed
}
