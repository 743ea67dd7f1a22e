// Package landlock says which rules of Landlock stand for what a plan allows.
package landlock

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// ABI is the version of Landlock that this kernel has, 0 for none
// (landlock_create_ruleset(2)).
func ABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// Rights of a path, by what the plan calls them.
const (
	read  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	write = unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// What only means something for a file that is not a directory: the
	// kernel refuses the other rights there.
	file = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	makeDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
)

// Ruleset is what Landlock refuses unless a rule allows it: everything that
// this kernel's version can refuse, but what the filter is sure to.
type Ruleset struct {
	Files, Network, Scoped uint64
	Size                   uint32 // of struct landlock_ruleset_attr, as this version knows it
}

// New gives the widest ruleset of an ABI version for a component. Each version
// added rights: 2 refer, 3 truncate, 4 TCP, 5 ioctl on devices, 6 scopes.
func New(abi int, c *plan.Component) Ruleset {
	r := Ruleset{
		Files: read | write | makeDevices | unix.LANDLOCK_ACCESS_FS_EXECUTE,
		Size:  8,
	}
	if abi < 2 {
		r.Files &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	// The kernel asks for this right at every open, and looks for it up to the
	// root. What may be written may be truncated: where the filter lets nothing
	// else be truncated, the right to write says it all.
	if abi < 3 || truncatesWritten(c.Syscalls) {
		r.Files &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 && !c.HostNetwork {
		// A worker's network is empty and the monitor binds and connects
		// for it: it needs no TCP port at all.
		r.Network = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 4 {
		r.Size = 16
	}
	if abi >= 5 {
		r.Files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		r.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		r.Size = 24
	}
	return r
}

// Access translates what the plan allows on a path.
func (r Ruleset) Access(a plan.Access, directory bool) uint64 {
	var rights uint64
	if a&plan.Read != 0 {
		rights |= read
	}
	if a&(plan.Write|plan.Append) != 0 {
		rights |= write
	}
	if a&plan.Execute != 0 {
		rights |= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	if !directory {
		rights &= file
	}
	return rights & r.Files
}

// Device is what a device node needs beside reading and writing.
func (r Ruleset) Device(a plan.Access) uint64 {
	return (r.Access(a, false) | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV) & r.Files
}
