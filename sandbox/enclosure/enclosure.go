// Package enclosure gives a process a root that has places of the host and nothing
// else of it.
package enclosure

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Place is a directory or a file of the host that an enclosed process keeps.
type Place struct {
	Path     string
	Writable bool
}

// Enclosure is a root that has places of the host and nothing else of it.
type Enclosure struct {
	places []Place
	trees  []int // of places, -1 where nothing is there
	at     string
}

// Enclose prepares a root. at is a directory that exists in and out of it. The
// places come first and must not lie in one another: the way across a mount is
// closed for whoever resolves paths beneath a place.
func Enclose(at string, places []Place) (_ *Enclosure, err error) {
	e := &Enclosure{places: places, at: at}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	for _, p := range places {
		tree, err := unix.OpenTree(unix.AT_FDCWD, p.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			e.trees = append(e.trees, -1)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("take %s into the monitor's root: %w", p.Path, err)
		}
		e.trees = append(e.trees, tree)
		// What is mounted and unmounted there later is there too, and
		// nothing that happens inside is seen outside.
		attributes := unix.MountAttr{Propagation: unix.MS_SLAVE}
		if !p.Writable {
			attributes.Attr_set = unix.MOUNT_ATTR_RDONLY
		}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attributes); err != nil {
			return nil, fmt.Errorf("limit %s in the monitor's root: %w", p.Path, err)
		}
	}
	return e, nil
}

// Close closes what Enclose opened.
func (e *Enclosure) Close() {
	for _, tree := range e.trees {
		if tree >= 0 {
			unix.Close(tree)
		}
	}
	e.trees = nil
}

// Enter gives this thread a mount namespace of its own with the root, for the
// exec that follows. The thread is good for nothing else then.
func (e *Enclosure) Enter() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("give the monitor a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part the monitor's mounts from the host's: %w", err)
	}
	return e.build()
}

// Replace gives a process that is enclosed already, by its mount namespace, the
// root in the place of the one that it has.
func (e *Enclosure) Replace(namespace *os.File) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends in that namespace.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			done <- fmt.Errorf("enter the monitor's mount namespace: %w", err)
			return
		}
		done <- e.build()
	}()
	return <-done
}

// rootSize bounds what the mount points take.
const rootSize = "size=1m,nr_inodes=4k,mode=755"

// build makes the root in this thread's mount namespace, and makes it the root
// of all who have the present one (pivot_root(2)).
func (e *Enclosure) build() error {
	if err := unix.Mount("tmpfs", e.at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, rootSize); err != nil {
		return fmt.Errorf("make the monitor's root: %w", err)
	}
	root, err := unix.Open(e.at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(root)
		err = unix.Fchdir(root)
	}
	if err != nil {
		return fmt.Errorf("make the monitor's root: %w", err)
	}
	for i, p := range e.places {
		if e.trees[i] < 0 {
			continue
		}
		if err := e.hang(e.trees[i], "."+p.Path); err != nil {
			return fmt.Errorf("take %s into the monitor's root: %w", p.Path, err)
		}
	}
	if err := unix.MountSetattr(root, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make the monitor's root read-only: %w", err)
	}
	// The old root comes to lie over the new one, and goes (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the monitor's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	return unix.Chdir("/")
}

// hang puts a tree at a path beneath the working directory. Where the path lies
// in one that hangs there already, it exists.
func (e *Enclosure) hang(tree int, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.MkdirAll(at, 0o755)
	} else if err = os.MkdirAll(path.Dir(at), 0o755); err == nil {
		var file *os.File
		if file, err = os.OpenFile(filepath.Clean(at), os.O_RDONLY|os.O_CREATE, 0o444); err == nil {
			file.Close()
		}
	}
	if err != nil {
		return err
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
