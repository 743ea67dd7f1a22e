package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Group is the group of one component, in which leaves are made.
type Group struct {
	unified     bool
	controllers []controller
}

type controller struct {
	name      string
	directory int // O_PATH descriptor of the component's group
	path      string
}

// Where controllers stand in Group.controllers on v1; v2 has one for all.
const (
	memory = 0
	pids   = 1
)

// setting is one file of a leaf and what is written there.
type setting struct {
	controller, file, value string
	optional                bool // kernels without the feature have no such file
}

// Open opens the group of a component, making it where it is missing. The
// leaves of a component need the same controllers, so limits says which. workers
// is how many of them there are at most.
func Open(h Hierarchy, group string, limits plan.Limits, workers int) (*Group, error) {
	g := &Group{unified: h.Unified != ""}
	names := []string{"memory", "pids"}
	if limits.CPUShare != 0 || limits.CPUQuota != 0 {
		names = append(names, "cpu")
	}
	mounts := h.Controllers
	if g.unified {
		names, mounts = []string{""}, map[string]string{"": h.Unified}
	}
	for _, name := range names {
		directory := path.Join(mounts[name], group)
		if err := unix.Mkdir(directory, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			g.Close()
			return nil, fmt.Errorf("make cgroup %s: %w", directory, err)
		}
		fd, err := unix.Open(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("open cgroup %s: %w", directory, err)
		}
		g.controllers = append(g.controllers, controller{name, fd, directory})
	}
	if err := g.bound(limits, workers); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// besides is what a component's group may use beside its workers: the init's own
// limit, of which that takes little, and what the kernel keeps for each leaf.
const besides = 64 << 20

// bound limits what all leaves of the group use together, and what was used in
// leaves that are gone: memory outlives its worker where somebody holds a file
// of memfd_create(2) that it made, as the descriptor store does.
func (g *Group) bound(limits plan.Limits, workers int) error {
	if limits.Memory == 0 || limits.Memory+limits.Swap > (1<<62)/uint64(workers) {
		return nil
	}
	all := plan.Limits{Memory: limits.Memory*uint64(workers) + besides, Swap: limits.Swap * uint64(workers)}
	for _, s := range settings(g.unified, all) {
		if s.file == "memory.oom.group" {
			continue // one worker out of memory is not all of them
		}
		if err := write(g.controllers[memory].directory, s.file, s.value); err != nil && !(s.optional && errors.Is(err, unix.ENOENT)) {
			return fmt.Errorf("write %q to %s/%s: %w", s.value, g.controllers[memory].path, s.file, err)
		}
	}
	return nil
}

// Close closes the descriptors; the group stays.
func (g *Group) Close() {
	for _, c := range g.controllers {
		unix.Close(c.directory)
	}
	g.controllers = nil
}

// Leaf is the group of one worker.
type Leaf struct {
	group *Group
	name  string
	// Procs are descriptors of the files by which the leaf is entered,
	// opened with the monitor's rights: whoever holds one can enter by
	// writing "0".
	Procs []int
	// counters are the files that say what is left in the leaf, open from
	// when they are first read until Close; zero is not open.
	counters [counters]int
}

// What is read of a leaf.
const (
	kills = iota // how many of its processes the kernel killed for their memory
	tasks
	peak
	counters
)

// counter says where a counter is.
func (l *Leaf) counter(which int) (controller int, file string) {
	switch {
	case which == tasks:
		return pids, "pids.current"
	case which == peak && l.group.unified:
		return memory, "memory.peak"
	case which == peak:
		return memory, "memory.max_usage_in_bytes"
	case l.group.unified:
		return memory, "memory.events"
	}
	return memory, "memory.oom_control"
}

// NewLeaf makes a leaf with its limits set.
func (g *Group) NewLeaf(name string, limits plan.Limits) (*Leaf, error) {
	l := &Leaf{group: g, name: name}
	for _, c := range g.controllers {
		if err := unix.Mkdirat(c.directory, name, 0o755); err != nil {
			l.abandon()
			return nil, fmt.Errorf("make cgroup %s/%s: %w", c.path, name, err)
		}
		for _, s := range settings(g.unified, limits) {
			if s.controller != c.name {
				continue
			}
			err := write(c.directory, name+"/"+s.file, s.value)
			if err != nil && !(s.optional && errors.Is(err, unix.ENOENT)) {
				l.abandon()
				return nil, fmt.Errorf("write %q to %s/%s/%s: %w", s.value, c.path, name, s.file, err)
			}
		}
	}
	if err := l.openProcs(); err != nil {
		l.abandon()
		return nil, err
	}
	return l, nil
}

// openProcs opens what a worker enters by. On v1 that is tasks, because a
// thread that moves itself by it is spared the lock that cgroup.procs takes
// against every fork and exit of the machine; a worker has one thread then.
func (l *Leaf) openProcs() error {
	file := "tasks"
	if l.group.unified {
		file = "cgroup.procs"
	}
	for _, c := range l.group.controllers {
		fd, err := unix.Openat(c.directory, l.name+"/"+file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s/%s/%s: %w", c.path, l.name, file, err)
		}
		l.Procs = append(l.Procs, fd)
	}
	return nil
}

// leftover is how much memory may still be charged to a leaf that is used
// again: what the kernel keeps for each processor, and little more.
const leftover = 1 << 20

// Recycle makes the leaf of a worker that is gone into an unused one of
// another name, which costs a tenth of a new one, and says whether it did. It
// does not where anything of the first worker would count against the second:
// a process, memory, a kill. Nor on cgroup v2, which can rename no group and
// reset no peak.
func (l *Leaf) Recycle(name string) bool {
	if l.group.unified || l.OutOfMemory() || l.number(tasks) != 0 {
		return false
	}
	fd, err := l.open(peak)
	if err != nil {
		return false
	}
	if _, err := unix.Write(fd, []byte{'0'}); err != nil || l.number(peak) > leftover {
		return false
	}
	for _, c := range l.group.controllers {
		if unix.Renameat(c.directory, l.name, c.directory, name) != nil {
			// Some controllers have the new name already: what has the
			// old one goes here, the rest when the caller removes it.
			l.Remove()
			l.name = name
			return false
		}
	}
	l.name = name
	return len(l.Procs) > 0 || l.openProcs() == nil
}

func (l *Leaf) abandon() {
	l.Close()
	l.Remove()
}

// Close closes the descriptors, none of which a name has to do with: they stay
// good when the leaf is used again. One that is not closed in between saves the
// next worker a dozen calls.
func (l *Leaf) Close() {
	for _, fd := range l.Procs {
		unix.Close(fd)
	}
	l.Procs = nil
	for i, fd := range l.counters {
		if fd > 0 {
			unix.Close(fd)
		}
		l.counters[i] = 0
	}
}

// Remove removes the leaf. EBUSY means that its last process has not quite
// gone: try again later.
func (l *Leaf) Remove() error {
	var failed error
	for _, c := range l.group.controllers {
		if err := unix.Unlinkat(c.directory, l.name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = err
		}
	}
	return failed
}

// OutOfMemory says whether the kernel killed a process of the leaf because
// the leaf's memory limit was reached.
func (l *Leaf) OutOfMemory() bool {
	var b [512]byte
	n := l.read(kills, b[:])
	for line := range bytes.Lines(b[:n]) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			return !bytes.Equal(bytes.TrimSpace(count), []byte("0"))
		}
	}
	return false
}

// Peak is the most memory that the leaf used, in bytes; zero where the kernel
// does not tell (cgroup v2 before Linux 5.19).
func (l *Leaf) Peak() uint64 { return l.number(peak) }

// Processes returns the processes of the leaf, by the caller's pids: a moment
// later there may be others.
func (l *Leaf) Processes() []int {
	fd, err := unix.Openat(l.group.controllers[memory].directory, l.name+"/cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var b [16 << 10]byte
	n, _ := unix.Read(fd, b[:])
	var all []int
	for line := range bytes.Lines(b[:max(n, 0)]) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// number reads a counter that is one number; zero when there is none.
func (l *Leaf) number(which int) uint64 {
	var b [64]byte
	n := l.read(which, b[:])
	v, _ := strconv.ParseUint(string(bytes.TrimSpace(b[:n])), 10, 64)
	return v
}

func (l *Leaf) read(which int, b []byte) int {
	fd, err := l.open(which)
	if err != nil {
		return 0
	}
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return 0
	}
	return n
}

// open opens the file of a counter, once.
func (l *Leaf) open(which int) (int, error) {
	if l.counters[which] > 0 {
		return l.counters[which], nil
	}
	access := unix.O_RDONLY
	if which == peak && !l.group.unified {
		access = unix.O_RDWR // on v1 writing resets it
	}
	controller, file := l.counter(which)
	fd, err := unix.Openat(l.group.controllers[controller].directory, l.name+"/"+file, access|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	l.counters[which] = fd
	return fd, nil
}

func write(directory int, file, value string) error {
	fd, err := unix.Openat(directory, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

// period is that of CPU quotas.
const period = 100 * time.Millisecond

// settings translates limits. The worker's own init is one task more than
// the policy counts.
func settings(unified bool, l plan.Limits) []setting {
	var all []setting
	add := func(controller, file, value string, optional bool) {
		if unified {
			controller = ""
		}
		all = append(all, setting{controller, file, value, optional})
	}
	decimal := func(n uint64) string { return strconv.FormatUint(n, 10) }
	quota := decimal(uint64(l.CPUQuota) * uint64(period.Microseconds()) / 100)
	if l.Memory != 0 {
		if unified {
			add("memory", "memory.max", decimal(l.Memory), false)
			add("memory", "memory.swap.max", decimal(l.Swap), true)
			// One process out of memory ends the worker: half of one is
			// of no use to anybody.
			add("memory", "memory.oom.group", "1", true)
		} else {
			add("memory", "memory.limit_in_bytes", decimal(l.Memory), false)
			add("memory", "memory.memsw.limit_in_bytes", decimal(l.Memory+l.Swap), true)
		}
	}
	if l.Processes != 0 {
		add("pids", "pids.max", decimal(uint64(l.Processes)+1), false)
	}
	if l.CPUShare != 0 {
		if unified {
			add("cpu", "cpu.weight", decimal(uint64(l.CPUShare)), false)
		} else {
			// v1 shares: 1024 is normal, as 100 is for weights.
			add("cpu", "cpu.shares", decimal(max(2, uint64(l.CPUShare)*1024/100)), false)
		}
	}
	if l.CPUQuota != 0 {
		if unified {
			add("cpu", "cpu.max", quota+" "+decimal(uint64(period.Microseconds())), false)
		} else {
			add("cpu", "cpu.cfs_period_us", decimal(uint64(period.Microseconds())), false)
			add("cpu", "cpu.cfs_quota_us", quota, false)
		}
	}
	if l.IOWeight != 0 && unified {
		// Where there is none the policy calls the wall optional, or there would be
		// no compartment (WeighsDisks).
		add("io", "io.weight", "default "+decimal(uint64(l.IOWeight)), true)
	}
	return all
}
