package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNone says that this process may make no cgroups at all.
var ErrNone = errors.New("this user may make no cgroups")

// Base finds the group beneath which this process may make groups of its own,
// as a path below the hierarchies' roots, "" for the roots themselves.
//
// A service manager that delegates a group says so (systemd's Delegate=yes
// sets an extended attribute): then the groups go there, for root too. Without
// that root has the whole tree, and an ordinary user the topmost group that it
// can write, of cgroup v2 only: v1 cannot be delegated safely.
func (h Hierarchy) Base() (string, error) { return h.BaseOf("self") }

// BaseOf is what Base is, or was, to another process of the same user: to a
// broker that runs. process is its pid.
func (h Hierarchy) BaseOf(process string) (string, error) {
	root := os.Geteuid() == 0
	if h.Unified == "" {
		if root {
			return "", nil
		}
		return "", fmt.Errorf("%w: cgroup v1 belongs to root", ErrNone)
	}
	own, err := groupOf(process)
	if err != nil {
		return "", err
	}
	writable := ""
	for at := own; at != "/"; at = path.Dir(at) {
		directory := h.Unified + at
		if delegated(directory) {
			return at, nil
		}
		if mayMake(directory) {
			writable = at
		}
	}
	switch {
	case root:
		return "", nil
	case writable != "":
		return writable, nil
	}
	return "", fmt.Errorf("%w: nothing is delegated to it in %s%s; run under a service manager that does (Delegate=yes)", ErrNone, h.Unified, own)
}

// groupOf is the group of a process in cgroup v2 (cgroups(7)).
func groupOf(process string) (string, error) {
	b, err := os.ReadFile("/proc/" + process + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("find the cgroup: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Clean(own), nil
		}
	}
	return "", errors.New("find the cgroup: /proc/" + process + "/cgroup does not name one of cgroup v2")
}

func delegated(directory string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [2]byte
		if n, err := unix.Getxattr(directory, name, value[:]); err == nil && n == 1 && value[0] == '1' {
			return mayMake(directory)
		}
	}
	return false
}

// mayMake says whether groups can be made in a directory and controllers
// enabled for them.
func mayMake(directory string) bool {
	for _, file := range []string{"", "/cgroup.procs", "/cgroup.subtree_control"} {
		if unix.Access(directory+file, unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// Leave moves this process out of base, into a leaf beside the groups that
// are about to be made: a group of cgroup v2 has processes or controllers for
// its children, not both.
func (h Hierarchy) Leave(base string) error {
	if h.Unified == "" || base == "" {
		return nil
	}
	own, err := groupOf("self")
	if err != nil || own != base {
		return err
	}
	leaf := h.Unified + path.Join(base, "broker")
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make a cgroup for the broker: %w", err)
	}
	if err := os.WriteFile(leaf+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("move the broker to %s: %w", leaf, err)
	}
	return nil
}

// Application is the group of an application beneath a base.
func Application(base, application string) string {
	return path.Join("/", base, Root, application)
}
