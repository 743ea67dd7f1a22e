package sandbox

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// landlockABI is the version of Landlock that this kernel has, 0 for none
// (landlock_create_ruleset(2)).
func landlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// Rights of a path, by what the plan calls them.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// What only means something for a file that is not a directory: the
	// kernel refuses the other rights there.
	landlockFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landlockMakeDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
)

// ruleset is what Landlock refuses unless a rule allows it: everything that
// this kernel's version can refuse.
type ruleset struct {
	files, network, scoped uint64
	size                   uint32 // of struct landlock_ruleset_attr, as this version knows it
}

// newRuleset gives the widest ruleset of an ABI version. Each version added
// rights: 2 refer, 3 truncate, 4 TCP, 5 ioctl on devices, 6 scopes.
func newRuleset(abi int, hostNetwork bool) ruleset {
	r := ruleset{
		files: landlockRead | landlockWrite | landlockMakeDevices | unix.LANDLOCK_ACCESS_FS_EXECUTE,
		size:  8,
	}
	if abi < 2 {
		r.files &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi < 3 {
		r.files &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 && !hostNetwork {
		// A worker's network is empty and the monitor binds and connects
		// for it: it needs no TCP port at all.
		r.network = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 4 {
		r.size = 16
	}
	if abi >= 5 {
		r.files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		r.scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		r.size = 24
	}
	return r
}

// access translates what the plan allows on a path.
func (r ruleset) access(a plan.Access, directory bool) uint64 {
	var rights uint64
	if a&plan.Read != 0 {
		rights |= landlockRead
	}
	if a&(plan.Write|plan.Append) != 0 {
		rights |= landlockWrite
	}
	if a&plan.Execute != 0 {
		rights |= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	if !directory {
		rights &= landlockFile
	}
	return rights & r.files
}

// device is what a device node needs beside reading and writing.
func (r ruleset) device(a plan.Access) uint64 {
	return (r.access(a, false) | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV) & r.files
}
