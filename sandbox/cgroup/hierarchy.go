// Package cgroup makes, limits and removes the cgroups of an application: one
// group for each component and one leaf in it for each worker.
//
// It knows pure cgroup v2, pure v1 and the hybrid of both. The monitor links
// it, so it imports nothing but the plan and system calls; libcontainer, which
// makes the group of a compartment's init, is not known here.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
)

// Root is the group that all groups of Bulkhead stand in, below the root of
// each hierarchy.
const Root = "sandbox"

// Hierarchy says where this machine's cgroups are.
type Hierarchy struct {
	// Unified is the mount point of cgroup v2 when v2 has the controllers
	// (pure v2); empty otherwise.
	Unified string
	// Beside is the mount point of a cgroup v2 without controllers beside v1
	// (hybrid).
	Beside string
	// Controllers are the mount points of the v1 controllers by name
	// ("memory", "pids", "cpu").
	Controllers map[string]string
}

// Find reads /proc/self/mountinfo (proc(5)), once: a start asks a dozen times, and
// the kernel writes that file anew for each. Who gets it changes nothing in it.
func Find() (Hierarchy, error) { return found() }

var found = sync.OnceValues(func() (Hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Hierarchy{}, fmt.Errorf("find the cgroup hierarchies: %w", err)
	}
	return parse(string(b))
})

func parse(mountinfo string) (Hierarchy, error) {
	h := Hierarchy{Controllers: map[string]string{}}
	unified := ""
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if !ok {
			continue
		}
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup2":
			if unified == "" {
				unified = left[4]
			}
		case "cgroup":
			for name := range strings.SplitSeq(right[2], ",") {
				if _, seen := h.Controllers[name]; !seen {
					h.Controllers[name] = left[4]
				}
			}
		}
	}
	if _, v1 := h.Controllers["memory"]; v1 {
		for _, name := range Used {
			if _, ok := h.Controllers[name]; !ok {
				return h, fmt.Errorf("find the cgroup hierarchies: the v1 controller %q is not mounted; mount it or boot with cgroup v2", name)
			}
		}
		h.Beside = unified
		return h, nil
	}
	if unified == "" {
		return h, errors.New("find the cgroup hierarchies: neither cgroup v2 nor v1 is mounted; mount cgroup2 on /sys/fs/cgroup")
	}
	h.Unified = unified
	return h, nil
}

// Directories returns the directories of a group in all hierarchies where
// Bulkhead makes one, whether they exist or not.
func (h Hierarchy) Directories(group string) []string {
	if h.Unified != "" {
		return []string{path.Join(h.Unified, group)}
	}
	var all []string
	if h.Beside != "" {
		all = append(all, path.Join(h.Beside, group))
	}
	seen := map[string]bool{}
	for _, name := range Used {
		if mount := h.Controllers[name]; !seen[mount] {
			seen[mount] = true
			all = append(all, path.Join(mount, group))
		}
	}
	return all
}
