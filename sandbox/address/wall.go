// Package address is the wall of addresses of an application: programs in the
// kernel, at the application's group of cgroup v2, that look at every bind,
// connect and datagram of its components.
package address

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/reach"
)

// MonitorGroup is the group of the monitor beneath the application's. No
// component can have the name.
const MonitorGroup = "@monitor"

// Wall is the wall of one application. It goes when the group goes.
type Wall struct {
	Allowed  int            // map of reach.Key, for the monitor to add to
	Refusals int            // ring of reach.Refusal
	Outside  cgroup.Outside // the group that this process was in
}

// names and their addresses that there is room for beside the plan's own.
const allowedRoom = 4096

// changedRoom is how many compartments reloads may build beside those of the
// first plan before what is gone is forgotten.
const changedRoom = 4096

// askersRoom is how many different peers may have sent something and not been
// answered: the kernel forgets who was silent for longest.
const askersRoom = 1 << 14

// Limit builds the wall of addresses and moves this process to the
// group of the monitor, for the programs look at sockets that are born beneath
// the application's group, and sockets keep the group of their birth. It
// returns nil where no component needs it, or where it is missing and may be.
func Limit(group string, p *plan.Plan) (*Wall, error) {
	needed, wanted := -1, false
	for i := range p.Components {
		limited, datagrams := reach.Limited(p, i)
		wanted = wanted || limited
		if datagrams && needed < 0 && !slices.Contains(p.Components[i].Optional, "addresses") {
			needed = i
		}
	}
	if !wanted {
		return nil, nil
	}
	a, err := build(group, p)
	if err == nil || needed < 0 {
		return a, nil
	}
	c := &p.Components[needed]
	at := c.Position
	for _, b := range c.Grants {
		if g := &p.Grants[b.Grant]; g.Network == "udp" {
			at = g.Position
		}
	}
	return nil, fmt.Errorf("%s:%d:%d: component %q: limit where its datagrams go: %w; %s, or write optional: [addresses] if they may go anywhere",
		at.File, at.Line, at.Column, c.Name, err, Advice(err))
}

// Advice is what to do about err, which Try returned.
func Advice(err error) string {
	switch {
	case errors.Is(err, errNoUnified):
		return "mount cgroup2, an empty hierarchy beside v1 is enough"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "run it as root (CAP_BPF and CAP_NET_ADMIN)"
	}
	return "run it on a kernel with CONFIG_CGROUP_BPF"
}

var errNoUnified = errors.New("no hierarchy of cgroup v2 is mounted")

// Try says why the wall of addresses cannot be built here. It loads
// its programs and attaches them to nothing.
func Try() error {
	if err := mayLoad(); err != nil {
		return err
	}
	t, err := newTables(1)
	if err != nil {
		return err
	}
	defer t.close()
	for _, h := range hooks {
		program, err := h.load(t, 1, 0)
		if err != nil {
			return err
		}
		program.Close()
	}
	return nil
}

func mayLoad() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("load programs into the kernel: %w", unix.EPERM)
	}
	hierarchy, err := cgroup.Find()
	if err == nil && hierarchy.V2() == "" {
		err = errNoUnified
	}
	return err
}

func build(group string, p *plan.Plan) (_ *Wall, err error) {
	if err := mayLoad(); err != nil {
		return nil, err
	}
	hierarchy, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	mount := hierarchy.V2()
	network, err := networkCookie()
	if err != nil {
		return nil, fmt.Errorf("identify the network namespace: %w", err)
	}
	t, err := newTables(len(p.Components) + 1)
	if err != nil {
		return nil, err
	}
	a := &Wall{Allowed: -1, Refusals: -1, Outside: cgroup.Outside{Directory: -1, Procs: -1}}
	defer func() {
		t.close()
		if err != nil {
			a.Leave()
			a.close()
		}
	}()
	if err := t.fill(filepath.Join(mount, group), p); err != nil {
		return nil, err
	}
	if err := attach(filepath.Join(mount, group), t, int32(strings.Count(group, "/")+1), network); err != nil {
		return nil, err
	}
	if a.Allowed, err = keep(t.allowed); err != nil {
		return nil, err
	}
	if a.Refusals, err = keep(t.refusals); err != nil {
		return nil, err
	}
	if a.Outside, err = hierarchy.Move(filepath.Join(group, MonitorGroup)); err != nil {
		return nil, err
	}
	return a, looked()
}

// looked makes sure that the programs know this process: in a container the
// hierarchy that is seen may not be the whole one.
func looked() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("find the application's group from the root of the cgroups: %w", err)
	}
	return nil
}

func keep(m *ebpf.Map) (int, error) {
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, fmt.Errorf("keep a map for the monitor: %w", err)
	}
	return fd, nil
}

func (a *Wall) close() {
	for _, fd := range []int{a.Allowed, a.Refusals} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	a.Outside.Close()
}

// Leave moves this process out of the application again, so that it can be
// swept.
func (a *Wall) Leave() {
	if a != nil && a.Outside.Procs >= 0 {
		cgroup.Enter(a.Outside.Procs)
	}
}

func newTables(components int) (t tables, err error) {
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&t.components, ebpf.MapSpec{Name: "components", Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: uint32(components + changedRoom), Flags: unix.BPF_F_NO_PREALLOC}},
		{&t.allowed, ebpf.MapSpec{Name: "allowed", Type: ebpf.Hash, KeySize: reach.KeySize, ValueSize: 4, MaxEntries: allowedRoom, Flags: unix.BPF_F_NO_PREALLOC}},
		{&t.askers, ebpf.MapSpec{Name: "askers", Type: ebpf.LRUHash, KeySize: reach.KeySize, ValueSize: 8, MaxEntries: askersRoom}},
		{&t.refusals, ebpf.MapSpec{Name: "refusals", Type: ebpf.RingBuf, MaxEntries: reach.RingSize}},
	} {
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			t.close()
			return t, fmt.Errorf("make the map of %s: %w", m.spec.Name, err)
		}
	}
	return t, nil
}

func (t tables) close() {
	for _, m := range []*ebpf.Map{t.components, t.allowed, t.askers, t.refusals} {
		m.Close() // nil is nothing
	}
}

// know makes a group and enters whose it is.
func (t tables) know(group, name string, number uint32) error {
	directory := filepath.Join(group, name)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(directory, &st); err != nil {
		return fmt.Errorf("identify the cgroup %s: %w", directory, err)
	}
	if err := t.components.Put(st.Ino, number); err != nil {
		return fmt.Errorf("enter %q into the map of components: %w", name, err)
	}
	return nil
}

// fill makes the groups of the components and says who they are and what they
// may use.
func (t tables) fill(group string, p *plan.Plan) error {
	if err := t.know(group, MonitorGroup, reach.Everything); err != nil {
		return err
	}
	for i := range p.Components {
		if err := t.enter(group, p, i); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the group of one component and says who it is and what it may use.
func (t tables) enter(group string, p *plan.Plan, index int) error {
	c := &p.Components[index]
	number := uint32(c.Number)
	if c.HostNetwork {
		number = reach.Everything
	}
	if err := t.know(group, c.Compartment(), number); err != nil {
		return err
	}
	for _, r := range reach.Rules(p, index) {
		key := r.Key.Bytes()
		if err := t.allowed.Put(key[:], r.Value); err != nil {
			return fmt.Errorf("enter the addresses of component %q into their map: %w", c.Name, err)
		}
	}
	return nil
}

func attach(group string, t tables, level int32, network uint64) error {
	directory, err := unix.Open(group, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the cgroup %s: %w", group, err)
	}
	defer unix.Close(directory)
	for _, h := range hooks {
		program, err := h.load(t, level, network)
		if err != nil {
			return err
		}
		// Not a link: that would be a descriptor to keep open. An attached
		// program stays as long as the group does.
		err = link.RawAttachProgram(link.RawAttachProgramOptions{
			Target: directory, Program: program, Attach: h.attach, Flags: unix.BPF_F_ALLOW_MULTI,
		})
		program.Close()
		if err != nil {
			return fmt.Errorf("attach the program of %s to %s: %w", h.name, group, err)
		}
	}
	return nil
}
