package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Used are the v1 controllers that have something to limit.
var Used = []string{"memory", "pids", "cpu", "devices"}

// Make makes an application's group, with those above it, wherever compartments
// will have groups in it.
func (h Hierarchy) Make(group string) error {
	mounts := []string{h.Unified}
	if h.Unified == "" {
		mounts = nil
		for _, name := range Used {
			mounts = append(mounts, h.Controllers[name])
		}
	}
	for _, mount := range mounts {
		directory := path.Join(mount, group)
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return fmt.Errorf("make the application's cgroup %s: %w", directory, err)
		}
	}
	return nil
}

// Join makes a group with these limits in each v1 hierarchy that is used, with
// the groups above it, and moves the calling thread there. By tasks, because a
// thread that moves itself is spared the lock against every fork and exit of
// the machine; what it forks is born there.
func (h Hierarchy) Join(group string, limits plan.Limits) error {
	for _, name := range Used {
		directory := path.Join(h.Controllers[name], group)
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return fmt.Errorf("make cgroup %s: %w", directory, err)
		}
		for _, s := range settings(false, limits) {
			if s.controller != name {
				continue
			}
			err := write(unix.AT_FDCWD, path.Join(directory, s.file), s.value)
			if err != nil && !(s.optional && errors.Is(err, unix.ENOENT)) {
				return fmt.Errorf("write %q to %s/%s: %w", s.value, directory, s.file, err)
			}
		}
		if err := write(unix.AT_FDCWD, path.Join(directory, "tasks"), "0"); err != nil {
			return fmt.Errorf("enter cgroup %s: %w", directory, err)
		}
	}
	return nil
}
