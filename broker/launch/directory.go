package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/listener"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/address"
	"bulkhead/sandbox/cgroup"
)

// StateDirectory is where applications have their directories:
// /run/sandbox for root, $XDG_RUNTIME_DIR/sandbox for others.
func StateDirectory() (string, error) {
	if os.Geteuid() == 0 {
		return "/run/sandbox", nil
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return "", errors.New("find a place for the application's state: XDG_RUNTIME_DIR is not set; log in through a session manager, or set it to a directory that only you can enter")
	}
	if err := private(runtime, os.Geteuid()); err != nil {
		return "", fmt.Errorf("find a place for the application's state: XDG_RUNTIME_DIR is %s, %w; log in through a session manager (su alone keeps that of whoever called it), or set it to a directory that only you can enter", runtime, err)
	}
	return filepath.Join(runtime, "sandbox"), nil
}

// private is an error for a directory in which others than a user could put sockets
// in the place of an application's. One that is not there is made by that user.
func private(path string, uid int) error {
	if !filepath.IsAbs(path) {
		return errors.New("which is not absolute")
	}
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return fmt.Errorf("which cannot be looked at: %w", err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return errors.New("which is not a directory")
	case int(st.Uid) != uid:
		return fmt.Errorf("which is that of user %d, and not of user %d", st.Uid, uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("which others may write (mode %04o)", st.Mode&0o7777)
	}
	return nil
}

// directory is an application's directory, locked.
type directory struct {
	path      string
	hierarchy cgroup.Hierarchy
	group     string   // the application's cgroup, below the hierarchies' roots
	lock      int      // descriptor of the directory, flock(2)ed
	pipe      int      // the sweeper acts when its last copy closes
	sweeper   int      // pid, a child of this process
	command   []string // the sweeper's program and arguments
	keeper    int      // socket of the keeper, who starts others
	keeperPid int      // a child of this process, 0 before there is one

	listeners []int         // granted sockets; the sweeper removes only closed ones
	addresses *address.Wall // the wall of addresses, nil without one
}

// patience is how long a start waits for the sweeping of an earlier run.
const patience = 15 * time.Second

// claim makes and locks the directory. What an earlier run left there, because
// the power failed or its sweeper was killed too, is swept first.
func claim(base, application string, begun *Beginning) (*directory, error) {
	path := filepath.Join(base, application)
	hierarchy, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	above, err := hierarchy.Base()
	if err != nil {
		return nil, fmt.Errorf("find a place for the application's cgroups: %w", err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory %s: %w", base, err)
	}
	for deadline := time.Now().Add(patience); ; {
		d, stale, err := tryClaim(path)
		switch {
		case err != nil:
			unix.Rmdir(path) // if it is empty: it may just have been made
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case d != nil && !stale:
			d.hierarchy, d.group = hierarchy, cgroup.Application(above, application)
			if err := hierarchy.Leave(above, begun.builder.pid); err != nil {
				d.abandon()
				return nil, err
			}
			return d, nil
		case d != nil:
			d.hierarchy, d.group = hierarchy, cgroup.Application(above, application)
			err := d.sweep(begun.Programs)
			if err != nil {
				return nil, err
			}
			continue
		}
		// Somebody has the lock: a broker, or only a sweeper at work. Where the
		// broker was killed, that has yet to take the pid away: it waits for the
		// builder too. A broker that is in another pid namespace is found late.
		late := time.Now().After(deadline)
		if pid, err := os.ReadFile(filepath.Join(path, "pid")); err == nil && (late || runs(pid)) {
			time.Sleep(20 * time.Millisecond)
			if again, err := os.ReadFile(filepath.Join(path, "pid")); err == nil && string(again) == string(pid) {
				return nil, &ErrRunning{application, strings.TrimSpace(string(pid))}
			}
		}
		if late {
			return nil, fmt.Errorf("lock %s: an earlier run of %q is still being swept up after %v; look for its sandbox-sweeper process", path, application, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// runs says whether the process of a pid file runs, or one that has its number
// since.
func runs(text []byte) bool {
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err != unix.ESRCH
	}
	defer unix.Close(pidfd)
	ended := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}} // also one that nobody has waited for
	n, _ := unix.Poll(ended, 0)
	return n == 0
}

// tryClaim returns nil when the lock is taken, and says whether what it
// locked has something in it.
func tryClaim(path string) (d *directory, stale bool, err error) {
	if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
		return nil, false, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, false, nil // swept away this moment
	}
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		unix.Close(fd)
		return nil, false, nil
	}
	var locked, there unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &locked)
	}
	if err != nil {
		unix.Close(fd)
		return nil, false, err
	}
	// The sweeper may have removed what was opened: then the lock is one on
	// nothing.
	if unix.Stat(path, &there) != nil || there.Ino != locked.Ino {
		unix.Close(fd)
		return nil, false, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		unix.Close(fd)
		return nil, false, err
	}
	return &directory{path: path, lock: fd, pipe: -1}, len(entries) > 0, nil
}

// sweep removes what an earlier run left, the directory included.
func (d *directory) sweep(programs Programs) error {
	if err := d.startSweeper(programs); err != nil {
		return err
	}
	d.abandon()
	return nil
}

// protect starts the sweeper and says who runs the application.
func (d *directory) protect(p *plan.Plan, programs Programs, manager *Manager) error {
	if err := d.startSweeper(programs); err != nil {
		return err
	}
	// What the sweeper removes too. A reload adds to it.
	if err := listener.Enlist(d.path, socketPaths(p, manager)); err != nil {
		return err
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := os.WriteFile(filepath.Join(d.path, "pid"), []byte(pid), 0o644); err != nil {
		return fmt.Errorf("write the broker's pid: %w", err)
	}
	return d.useMemory()
}

// useMemory puts a file system in memory where the roots of compartments will
// be, if they would be on a disk: they are some fifty files and directories
// each, and on ext4 making and removing them took half of a start's processor
// time. The sweeper takes it away again. On most machines /run is in memory.
func (d *directory) useMemory() error {
	var there unix.Statfs_t
	if err := unix.Fstatfs(d.lock, &there); err != nil || there.Type == unix.TMPFS_MAGIC || os.Geteuid() != 0 {
		return nil // it works on a disk too
	}
	root := filepath.Join(d.path, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", root, err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("mount a file system in memory on %s: %w", root, err)
	}
	return nil
}

// socketPaths are the files of granted unix sockets, which go with the run.
func socketPaths(p *plan.Plan, manager *Manager) []string {
	var paths []string
	for _, g := range p.Grants {
		if _, others := manager.listeners[g.Name]; others {
			continue // the service manager's, who keeps it
		}
		if g.Kind == plan.GrantListen && strings.HasPrefix(g.Network, "unix") && strings.HasPrefix(g.Address, "/") {
			paths = append(paths, g.Address)
		}
	}
	return paths
}

func (d *directory) startSweeper(programs Programs) error {
	d.command = []string{programs.Sweeper, d.path}
	for _, group := range d.hierarchy.Directories(d.group) {
		d.command = append(d.command, "-g", group)
	}
	pipe, pid, err := startSweeper(d.command, d.lock)
	if err == nil {
		d.pipe, d.sweeper = pipe, pid
	}
	return err
}

// abandon lets the sweeper do its work and waits until it is done.
func (d *directory) abandon() {
	d.dismissKeeper()
	d.addresses.Leave() // what is in the application's groups is ended
	for _, fd := range d.listeners {
		unix.Close(fd)
	}
	if d.pipe < 0 {
		os.Remove(d.path)
		unix.Close(d.lock)
		return
	}
	// Again when somebody kills it at its work, or has before.
	for range 3 {
		unix.Close(d.pipe)
		if status := await(d.sweeper); !status.Signaled() {
			break
		}
		var err error
		if d.pipe, d.sweeper, err = startSweeper(d.command, d.lock); err != nil {
			break
		}
	}
	unix.Close(d.lock)
}
