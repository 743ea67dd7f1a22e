package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cgroups are the suite's own groups: one, named bench-PID, directly below the root of each hierarchy.
type cgroups struct {
	name string
	mode string            // "v1", "hybrid" or "v2"
	dirs map[string]string // v1 controller, or "" for the unified hierarchy, to the suite's group there

	unified string // where the unified hierarchy is mounted, or ""
}

// The limits of every line that has any; only their presence costs time, not their size.
const (
	memoryLimit = 64 << 20
	pidsLimit   = 16
	cpuShares   = 512
	cpuWeight   = 50
)

func makeCgroups() (*cgroups, error) {
	mounted, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	g := &cgroups{name: fmt.Sprintf("bench-%d", os.Getpid()), mode: cgroupMode(mounted), unified: mounted[""], dirs: map[string]string{}}
	for _, controller := range g.controllers() {
		root, ok := mounted[controller]
		if !ok {
			return nil, errors.Join(fmt.Errorf("cgroup %s: no hierarchy has the controller %q", g.mode, controller), g.remove())
		}
		dir := filepath.Join(root, g.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(err, g.remove())
		}
		g.dirs[controller] = dir
	}
	if g.mode == "v2" {
		for _, dir := range []string{mounted[""], g.dirs[""]} {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
				return nil, errors.Join(err, g.remove())
			}
		}
	}
	return g, nil
}

// controllers are those that the suite's own leaves use.
func (g *cgroups) controllers() []string {
	if g.mode == "v2" {
		return []string{""}
	}
	return []string{"memory", "pids", "cpu"}
}

// workerFlags tell the raw worker program which leaves to make, with which limits, and by which file to enter.
func (g *cgroups) workerFlags() []string {
	if g.mode == "v2" {
		return []string{
			"-group", g.dirs[""], "-limit", fmt.Sprint("memory.max=", memoryLimit), "-limit", fmt.Sprint("pids.max=", pidsLimit),
			"-limit", fmt.Sprint("cpu.weight=", cpuWeight), "-enter", "cgroup.procs",
		}
	}
	// A task that moves only itself by "tasks" is spared the lock that "cgroup.procs" takes over all threads.
	return []string{
		"-group", g.dirs["memory"], "-limit", fmt.Sprint("memory.limit_in_bytes=", memoryLimit), "-enter", "tasks",
		"-group", g.dirs["pids"], "-limit", fmt.Sprint("pids.max=", pidsLimit), "-enter", "tasks",
		"-group", g.dirs["cpu"], "-limit", fmt.Sprint("cpu.shares=", cpuShares), "-enter", "tasks",
	}
}

// remove takes away what the suite made, and what runc and crun made below the suite's name in hierarchies
// that the suite itself does not use.
func (g *cgroups) remove() error {
	mounted, err := cgroupMounts()
	if err != nil {
		return err
	}
	for _, root := range mounted {
		err = errors.Join(err, removeTree(filepath.Join(root, g.name)))
	}
	return err
}

// removeTree removes a cgroup and those below it, the deepest first; the files in them go by themselves.
func removeTree(dir string) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := len(groups) - 1; i >= 0; i-- {
		// A group can stay busy for a moment after its last process has gone.
		for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			removed := syscall.Rmdir(groups[i])
			if removed == nil || errors.Is(removed, syscall.ENOENT) {
				break
			}
			if !errors.Is(removed, syscall.EBUSY) || time.Now().After(deadline) {
				err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", groups[i], removed))
				break
			}
		}
	}
	return err
}

// cgroupMounts maps each v1 controller, and "" for the unified hierarchy, to where it is mounted.
func cgroupMounts() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mounted := map[string]string{}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup2":
			mounted[""] = mount[4]
		case "cgroup":
			for _, option := range strings.Split(kind[2], ",") {
				if option != "rw" && option != "ro" {
					mounted[option] = mount[4]
				}
			}
		}
	}
	return mounted, nil
}

func cgroupMode(mounted map[string]string) string {
	_, unified := mounted[""]
	switch {
	case unified && len(mounted) == 1:
		return "v2"
	case unified:
		return "hybrid"
	default:
		return "v1"
	}
}
