package inspect

import (
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/reach"
)

// Cgroup is where a process is accounted and what bounds it there. Limits are
// the tightest of the group and those above it.
type Cgroup struct {
	Version   int    `json:"version"` // 1 (also hybrid) or 2
	Path      string `json:"path"`    // of the memory controller's hierarchy
	Memory    Usage  `json:"memory"`  // bytes
	Tasks     Usage  `json:"tasks"`
	Processor Share  `json:"processor"`
	// DiskWeight is that of the group's disk access: 100 is normal, 0 is none.
	DiskWeight uint64 `json:"disk-weight,omitempty"`
}

// Usage is what is used of what is allowed.
type Usage struct {
	Use   uint64 `json:"use"`
	Peak  uint64 `json:"peak,omitempty"`
	Limit Limit  `json:"limit"`
}

// Share is what of the processors a group may have.
type Share struct {
	Quota  Limit  `json:"quota"`  // percent of one processor
	Weight uint64 `json:"weight"` // 100 is normal
}

// readCgroup reads the groups of a process and their limits.
func (i *Inspector) readCgroup(pid int) (*Cgroup, error) {
	b, err := readFile(procPath(pid, "cgroup"))
	if err != nil {
		return nil, err
	}
	groups := parseCgroup(string(b))
	if i.hierarchy.Unified != "" {
		return i.limits.unified(i.hierarchy.Unified, groups[""]), nil
	}
	return i.limits.controllers(i.hierarchy, groups), nil
}

// programs is how many programs at the groups of a process look at the
// addresses that it uses (address.Limit).
func (i *Inspector) programs(pid int) int {
	b, err := readFile(procPath(pid, "cgroup"))
	if err != nil || i.hierarchy.V2() == "" {
		return 0
	}
	n, _ := reach.Attached(path.Join(i.hierarchy.V2(), parseCgroup(string(b))[""])) // who may not ask sees none
	return n
}

// parseCgroup reads /proc/PID/cgroup: the path by controller, "" for v2.
func parseCgroup(text string) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			groups[name] = fields[2]
		}
	}
	return groups
}

func (l *limitFiles) unified(mount, group string) *Cgroup {
	c := &Cgroup{Version: 2, Path: group, Processor: Share{Quota: Unlimited, Weight: 100}}
	directory := path.Join(mount, group)
	c.Memory = Usage{number(directory, "memory.current"), number(directory, "memory.peak"), l.tightest(mount, group, "memory.max")}
	c.Tasks = Usage{number(directory, "pids.current"), number(directory, "pids.peak"), l.tightest(mount, group, "pids.max")}
	if weight := number(directory, "cpu.weight"); weight != 0 {
		c.Processor.Weight = weight
	}
	c.DiskWeight = diskWeight(readText(path.Join(directory, "io.weight")))
	for at := group; ; at = path.Dir(at) {
		fields := strings.Fields(l.text(path.Join(mount, at, "cpu.max")))
		if len(fields) == 2 && fields[0] != "max" {
			quota, _ := strconv.ParseUint(fields[0], 10, 64)
			period, _ := strconv.ParseUint(fields[1], 10, 64)
			c.Processor.Quota = min(c.Processor.Quota, Limit(quota*100/max(period, 1)))
		}
		if at == "/" || at == "." || at == "" {
			return c
		}
	}
}

// diskWeight reads io.weight: that of all disks, and of some of them.
func diskWeight(text string) uint64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "default "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func (l *limitFiles) controllers(h cgroup.Hierarchy, groups map[string]string) *Cgroup {
	c := &Cgroup{Version: 1, Path: groups["memory"], Processor: Share{Quota: Unlimited, Weight: 100}}
	memory := path.Join(h.Controllers["memory"], groups["memory"])
	c.Memory = Usage{
		number(memory, "memory.usage_in_bytes"), number(memory, "memory.max_usage_in_bytes"),
		l.tightest(h.Controllers["memory"], groups["memory"], "memory.limit_in_bytes"),
	}
	// v1 writes "no limit" as the largest number of pages.
	if c.Memory.Limit >= 1<<62 {
		c.Memory.Limit = Unlimited
	}
	tasks := path.Join(h.Controllers["pids"], groups["pids"])
	c.Tasks = Usage{number(tasks, "pids.current"), 0, l.tightest(h.Controllers["pids"], groups["pids"], "pids.max")}
	processor := path.Join(h.Controllers["cpu"], groups["cpu"])
	if shares := number(processor, "cpu.shares"); shares != 0 {
		c.Processor.Weight = shares * 100 / 1024
	}
	for at := groups["cpu"]; ; at = path.Dir(at) {
		directory := path.Join(h.Controllers["cpu"], at)
		quota := strings.TrimSpace(l.text(path.Join(directory, "cpu.cfs_quota_us")))
		if n, err := strconv.ParseInt(quota, 10, 64); err == nil && n > 0 {
			c.Processor.Quota = min(c.Processor.Quota, Limit(uint64(n)*100/max(number(directory, "cpu.cfs_period_us"), 1)))
		}
		if at == "/" || at == "." || at == "" {
			return c
		}
	}
}

// limitFiles remembers what limit files say during one inspection: the groups
// above those of 200 components are the same few.
type limitFiles struct{ known sync.Map }

func (l *limitFiles) text(file string) string {
	if text, ok := l.known.Load(file); ok {
		return text.(string)
	}
	text := readText(file)
	l.known.Store(file, text)
	return text
}

// tightest is the smallest limit of a group and all above it.
func (l *limitFiles) tightest(mount, group, file string) Limit {
	limit := Unlimited
	for at := group; ; at = path.Dir(at) {
		if text := strings.TrimSpace(l.text(path.Join(mount, at, file))); text != "" {
			limit = min(limit, limitValue(text))
		}
		if at == "/" || at == "." || at == "" {
			return limit
		}
	}
}

func number(directory, file string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(readText(path.Join(directory, file))), 10, 64)
	return n
}

// readText is a file of the cgroup file system; a controller that is not
// there, and a group that goes while it is read, count as empty.
func readText(file string) string {
	b, err := readFile(file)
	if err != nil {
		return ""
	}
	return string(b)
}

// memoryDirectory is where a group, or a file of it, is in the hierarchy of the
// memory controller, which every compartment has.
func (i *Inspector) memoryDirectory(group string) string {
	mount := i.hierarchy.Unified
	if mount == "" {
		mount = i.hierarchy.Controllers["memory"]
	}
	return path.Join(mount, group)
}

// processes are the pids in a component's group, by its leaves.
func (i *Inspector) processes(group string) (map[string][]int, error) {
	directory := i.memoryDirectory(group)
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	leaves := map[string][]int{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for field := range strings.FieldsSeq(readText(path.Join(directory, e.Name(), "cgroup.procs"))) {
			pid, _ := strconv.Atoi(field)
			leaves[e.Name()] = append(leaves[e.Name()], pid)
		}
	}
	return leaves, nil
}

// groupMemory is what all processes of a group use together, in bytes.
func (i *Inspector) groupMemory(group string) uint64 {
	file := "memory.usage_in_bytes"
	if i.hierarchy.Unified != "" {
		file = "memory.current"
	}
	return number(i.memoryDirectory(group), file)
}
