package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
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

// BaseOf is what Base is, or was, to another process, whoever asks: to a broker
// that runs. process is its pid.
func (h Hierarchy) BaseOf(process string) (string, error) {
	user, err := userOf(process)
	if err != nil {
		return "", err
	}
	root := user == 0
	if h.Unified == "" {
		if root {
			return "", nil
		}
		return "", fmt.Errorf("%w: cgroup v1 belongs to root; be root, or have the machine started with cgroup v2 alone", ErrNone)
	}
	own, err := groupOf(process)
	if err != nil {
		return "", err
	}
	writable := ""
	for at := own; at != "/"; at = path.Dir(at) {
		directory := h.Unified + at
		if delegated(directory, user) {
			return at, nil
		}
		if mayMake(directory, user) {
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

func delegated(directory string, user int) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [2]byte
		if n, err := unix.Getxattr(directory, name, value[:]); err == nil && n == 1 && value[0] == '1' {
			return mayMake(directory, user)
		}
	}
	return false
}

// mayMake says whether a user can make groups in a directory and enable
// controllers for them.
func mayMake(directory string, user int) bool {
	for _, file := range []string{"", "/cgroup.procs", "/cgroup.subtree_control"} {
		if !mayWrite(directory+file, user) {
			return false
		}
	}
	return true
}

// mayWrite asks the kernel about this process's user; others have what is
// theirs, as managers delegate it.
func mayWrite(file string, user int) bool {
	if user == os.Geteuid() {
		return unix.Access(file, unix.W_OK) == nil
	}
	var st unix.Stat_t
	return unix.Stat(file, &st) == nil && (user == 0 || int(st.Uid) == user && st.Mode&0o200 != 0)
}

// userOf is the effective user of a process. The owner of its directory in
// /proc is another one's where the process is not dumpable (proc(5)).
func userOf(process string) (int, error) {
	b, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return 0, fmt.Errorf("find the user: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			if fields := strings.Fields(ids); len(fields) > 1 {
				return strconv.Atoi(fields[1])
			}
		}
	}
	return 0, errors.New("find the user: /proc/" + process + "/status names none")
}

// Leave moves this process and these children of it out of base, into a leaf beside
// the groups that are about to be made: a group of cgroup v2 has processes or
// controllers for its children, not both.
func (h Hierarchy) Leave(base string, children ...int) error {
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
	for _, pid := range append(children, os.Getpid()) {
		err := os.WriteFile(leaf+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // a child that has ended is in no group
			return fmt.Errorf("move the broker to %s: %w", leaf, err)
		}
	}
	return nil
}

// Application is the group of an application beneath a base.
func Application(base, application string) string {
	return path.Join("/", base, Root, application)
}

// BaseOfApplication is the base beneath which an application's group is.
func BaseOfApplication(group string) string { return path.Dir(path.Dir(path.Join("/", group))) }

// Missing are those controllers that limits take and that groups of cgroup v2
// beneath an application's cannot have: what a service manager did not delegate.
func (h Hierarchy) Missing(group string) ([]string, error) {
	if h.Unified == "" {
		return nil, nil // Find has looked
	}
	b, err := os.ReadFile(path.Join(h.Unified, BaseOfApplication(group), "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("look for the controllers of cgroups: %w", err)
	}
	var missing []string
	for _, name := range []string{"memory", "pids", "cpu", "io"} {
		if !slices.Contains(strings.Fields(string(b)), name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// WeighsDisks says whether the kernel gives a group of cgroup v2 a weight for its
// disk access: with the controller io alone it may not (CONFIG_BLK_CGROUP_IOCOST).
func (h Hierarchy) WeighsDisks(group string) bool {
	_, err := os.Stat(path.Join(h.Unified, group, "io.weight"))
	return h.Unified != "" && err == nil
}
