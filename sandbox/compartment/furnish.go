package compartment

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// furnish mounts what a compartment's root holds, before libcontainer moves
// into it, in a mount namespace of the calling thread's own, which
// libcontainer's processes inherit. A mount costs four system calls so, and
// some sixty in libcontainer, which has no privilege over the sources there and
// asks its parent for each.
//
// It is also the stronger way: the compartment's user namespace gets a copy of
// mounts that a more privileged one made, so the kernel locks each of them in
// its place with its flags (mount_namespaces(7)).
func furnish(root string, mounts []*configs.Mount) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Nothing of this may reach the host, and nothing of the host this.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make its mounts private: %w", err)
	}
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(at)
	for _, m := range mounts {
		if err := attach(at, m); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.Source, m.Destination, err)
		}
	}
	return nil
}

// attach mounts m below the directory at.
func attach(at int, m *configs.Mount) error {
	tree, err := detached(m)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	// The way may lead through directories of the host's that others can
	// write: no link in them leads out of the root.
	target, err := unix.Openat2(at, strings.TrimPrefix(m.Destination, "/"), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return fmt.Errorf("find where it goes: %w", err)
	}
	defer unix.Close(target)
	return unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// detached makes a mount that is nowhere yet (open_tree(2), fsmount(2)), with
// its attributes, for everything that is mounted below the source too.
func detached(m *configs.Mount) (int, error) {
	if m.Device == "tmpfs" {
		return memory(m.Data, int(attributes(m.Flags)))
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.Flags&unix.MS_REC != 0 {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return -1, err
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attributes(m.Flags)}); err != nil {
		unix.Close(tree)
		return -1, fmt.Errorf("set its attributes: %w", err)
	}
	return tree, nil
}

// memory makes a file system in memory; options are those of tmpfs(5).
func memory(options string, attributes int) (int, error) {
	context, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(context)
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(context, key, value); err != nil {
			return -1, fmt.Errorf("set %s: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	tree, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	return tree, os.NewSyscallError("fsmount", err)
}
