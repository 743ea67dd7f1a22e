package compartment

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// skeleton makes the directory that becomes the root of a compartment: empty
// directories and files for mounts to cover, symbolic links, and the few
// generated files. It belongs to owner, the compartment's own root, because
// libcontainer finishes it from inside; it is read-only afterwards.
func skeleton(root string, entries []plan.Entry, owner int) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("make the root directory of the compartment: %w", err)
	}
	made := map[string]bool{}
	for _, directory := range []string{"/", "/proc", "/dev", "/run", "/tmp"} {
		if err := makeDirectories(root, directory, owner, made); err != nil {
			return err
		}
	}
	covered := "" // the last directory bind: what is below it is the host's
	for _, e := range entries {
		if covered != "" && below(e.Target, covered) {
			if e.Kind == plan.EntryBind || e.Kind == plan.EntryTemporary || e.Kind == plan.EntryHidden || e.Kind == plan.EntryDevice || e.Kind == plan.EntryStub {
				continue // its mount point is there already
			}
			return fmt.Errorf("%s cannot be made in the compartment: it lies below %s, which is the host's", e.Target, covered)
		}
		if err := place(root, e, owner, made); err != nil {
			return err
		}
		if e.Kind == plan.EntryBind && e.Dir {
			covered = e.Target
		}
	}
	return nil
}

func below(path, directory string) bool {
	return len(path) > len(directory) && path[:len(directory)] == directory && (directory == "/" || path[len(directory)] == '/')
}

func place(root string, e plan.Entry, owner int, made map[string]bool) error {
	at := filepath.Join(root, e.Target)
	if err := makeDirectories(root, filepath.Dir(e.Target), owner, made); err != nil {
		return err
	}
	var err error
	switch {
	case e.Kind == plan.EntrySymlink:
		err = os.Symlink(e.Source, at)
	case e.Kind == plan.EntryTemporary, e.Kind == plan.EntryDirectory, e.Dir:
		return makeDirectories(root, e.Target, owner, made)
	case e.Kind == plan.EntryData:
		mode := os.FileMode(e.Mode)
		if mode == 0 {
			mode = 0o444
		}
		err = os.WriteFile(at, []byte(e.Content), mode)
	default:
		err = os.WriteFile(at, nil, 0o444)
	}
	if err != nil {
		return fmt.Errorf("make %s in the compartment's root: %w", e.Target, err)
	}
	return nil
}

// makeDirectories is MkdirAll with an owner, remembering what it made.
func makeDirectories(root, path string, owner int, made map[string]bool) error {
	if made[path] {
		return nil
	}
	if path != "/" {
		if err := makeDirectories(root, filepath.Dir(path), owner, made); err != nil {
			return err
		}
	}
	at := filepath.Join(root, path)
	if err := os.Mkdir(at, 0o755); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make %s in the compartment's root: %w", path, err)
	}
	if os.Geteuid() != 0 {
		made[path] = true // it is the ordinary user's, as it has to be
		return nil
	}
	if err := os.Chown(at, owner, owner); err != nil {
		return fmt.Errorf("give %s to the compartment: %w", path, err)
	}
	made[path] = true
	return nil
}

// attributes are flags of mount(2) as mount_setattr(2) has them: those that are
// used here have the same values.
func attributes(flags int) uint64 {
	return uint64(flags & (unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC))
}

// mounts translates entries for libcontainer. What each worker gets for
// itself, its /proc and its tmpfs, is mounted by the init for each worker.
func mounts(entries []plan.Entry, stub string) []*configs.Mount {
	all := []*configs.Mount{{
		// The compartment's own, whole: the kernel lets workers mount
		// theirs only while an unmasked one is visible. No worker sees it.
		Source: "proc", Destination: "/proc", Device: "proc",
		Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	}}
	for _, e := range entries {
		const safe = unix.MS_NOSUID | unix.MS_NODEV
		switch e.Kind {
		case plan.EntryBind:
			flags := unix.MS_BIND | unix.MS_REC | safe
			if e.Access&(plan.Write|plan.Append) == 0 {
				flags |= unix.MS_RDONLY
			} else {
				// Writable and executable at once would let a worker
				// bring its own programs.
				flags |= unix.MS_NOEXEC
			}
			all = append(all, &configs.Mount{
				Source: e.Source, Destination: e.Target, Device: "bind", Flags: flags,
				// Flags of mount(2) are the topmost mount's alone, and an
				// ordinary user's mounts are libcontainer's.
				RecAttr: &unix.MountAttr{Attr_set: attributes(flags)},
			})
		case plan.EntryStub:
			all = append(all, &configs.Mount{
				Source: stub, Destination: e.Target, Device: "bind",
				Flags: unix.MS_BIND | safe | unix.MS_RDONLY,
			})
		case plan.EntryDevice:
			all = append(all, &configs.Mount{
				Source: e.Source, Destination: e.Target, Device: "bind",
				Flags: unix.MS_BIND | unix.MS_NOSUID | unix.MS_NOEXEC,
			})
		case plan.EntryHidden:
			if e.Dir {
				all = append(all, &configs.Mount{
					Source: "tmpfs", Destination: e.Target, Device: "tmpfs", Data: "size=0,mode=000",
					Flags: safe | unix.MS_NOEXEC | unix.MS_RDONLY,
				})
			} else {
				all = append(all, &configs.Mount{
					Source: "/dev/null", Destination: e.Target, Device: "bind",
					Flags: unix.MS_BIND | safe | unix.MS_NOEXEC | unix.MS_RDONLY,
				})
			}
		}
	}
	return all
}
