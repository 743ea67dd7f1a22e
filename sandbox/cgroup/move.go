package cgroup

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// V2 is the mount point of cgroup v2, with controllers or without; "" where
// there is none.
func (h Hierarchy) V2() string {
	if h.Unified != "" {
		return h.Unified
	}
	return h.Beside
}

// Outside is a group of cgroup v2 that a process has left and may go back to.
type Outside struct {
	Directory int // for processes that begin there (CLONE_INTO_CGROUP)
	Procs     int // its cgroup.procs: who writes "0" there goes back
}

// Move moves this process into a group of cgroup v2 and returns the one that it
// was in.
func (h Hierarchy) Move(group string) (Outside, error) {
	o := Outside{-1, -1}
	failed := func(err error) (Outside, error) {
		o.Close()
		return Outside{-1, -1}, fmt.Errorf("move to the cgroup %s: %w", group, err)
	}
	own, err := groupOf("self")
	if err != nil {
		return failed(err)
	}
	if o.Directory, err = unix.Open(path.Join(h.V2(), own), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return failed(err)
	}
	if o.Procs, err = unix.Openat(o.Directory, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return failed(err)
	}
	inside, err := unix.Open(path.Join(h.V2(), group, "cgroup.procs"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(inside)
	if err := Enter(inside); err != nil {
		return failed(err)
	}
	return o, nil
}

// Close closes the descriptors.
func (o Outside) Close() {
	for _, fd := range []int{o.Directory, o.Procs} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Enter moves this process into the group whose cgroup.procs is behind a
// descriptor.
func Enter(procs int) error {
	_, err := unix.Write(procs, []byte("0"))
	return err
}
