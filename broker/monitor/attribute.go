package monitor

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// nobody is what the kernel shows for an id that a user namespace does not map
// (user_namespaces(7), /proc/sys/kernel/overflowuid).
const nobody = 65534

// shownUser and shownGroup are a host's ids as a component sees them, and as
// fstat shows them of descriptors that it has.
func shownUser(c *plan.Component, id uint32) uint32 {
	switch id {
	case c.Hosts.UID:
		return c.User.UID
	case c.Hosts.Init:
		return 0
	}
	return nobody
}

func shownGroup(c *plan.Component, id uint32) uint32 {
	switch id {
	case c.Hosts.GID:
		return c.User.GID
	case c.Hosts.InitGroup:
		return 0
	}
	for i, group := range c.Hosts.Groups {
		if group == id && i < len(c.User.Groups) {
			return c.User.Groups[i]
		}
	}
	return nobody
}

// follow is the flag for looking at a link itself.
func follow(flags uint64) int {
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		return unix.O_NOFOLLOW
	}
	return 0
}

// brokeredStat is stat, lstat and newfstatat. buffer is the number of the
// argument for the result.
func (m *Monitor) brokeredStat(w *work, n *notification, directory uint64, pathAt, buffer int, flags uint64) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	if m.unknownFlags(w, n, flags, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH|syncType) {
		return
	}
	as := w.component.Component
	m.perform(w, n, true, func(l lookup) outcome {
		fd, st, errno := l.find(at, follow(flags))
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		st.Uid, st.Gid = shownUser(as, st.Uid), shownGroup(as, st.Gid)
		o := l.status(at, fd, st.Mode)
		o.output = append(o.output, unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st))...)
		o.address = n.arguments[buffer]
		o.patch = func(output []byte, standIn *unix.Stat_t) {
			// As fstat of what the program opens there says, so that programs
			// which compare the two find one directory.
			binary.NativeEndian.PutUint64(output[unsafe.Offsetof(st.Dev):], standIn.Dev)
			binary.NativeEndian.PutUint64(output[unsafe.Offsetof(st.Ino):], standIn.Ino)
		}
		return o
	})
}

const syncType = 0x6000 // AT_STATX_SYNC_TYPE, statx(2)

// brokeredStatx is statx(2).
func (m *Monitor) brokeredStatx(w *work, n *notification) {
	at := m.locate(w, n, n.arguments[0], n.arguments[1])
	if at == nil {
		m.own(w, n)
		return
	}
	as := w.component.Component
	flags, mask := int(n.arguments[2]), int(n.arguments[3])
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|syncType) != 0 {
		m.respond(w, n, unix.EINVAL)
		return
	}
	m.perform(w, n, true, func(l lookup) outcome {
		fd, known, errno := l.find(at, follow(n.arguments[2]))
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		var st unix.Statx_t
		if err := unix.Statx(fd, "", flags&syncType|unix.AT_EMPTY_PATH, mask, &st); err != nil {
			return failed(errnoOf(err))
		}
		st.Uid, st.Gid = shownUser(as, st.Uid), shownGroup(as, st.Gid)
		o := l.status(at, fd, known.Mode)
		o.output = append(o.output, unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st))...)
		o.address = n.arguments[4]
		o.patch = func(output []byte, standIn *unix.Stat_t) {
			binary.NativeEndian.PutUint32(output[unsafe.Offsetof(st.Dev_major):], unix.Major(standIn.Dev))
			binary.NativeEndian.PutUint32(output[unsafe.Offsetof(st.Dev_minor):], unix.Minor(standIn.Dev))
			binary.NativeEndian.PutUint64(output[unsafe.Offsetof(st.Ino):], standIn.Ino)
		}
		return o
	})
}

// status begins the outcome of a call that tells something of what fd found.
func (l lookup) status(at *spot, fd int, mode uint32) outcome {
	o := outcome{fd: -1, at: at}
	if mode&unix.S_IFMT == unix.S_IFDIR && at.standIn != "" {
		o.stands, o.errno = l.stands(at, fd)
		if o.errno == unix.ENOENT {
			o.stands, o.errno = nil, 0
		}
		o.glance = true
	}
	return o
}

// brokeredStatfs is statfs(2).
func (m *Monitor) brokeredStatfs(w *work, n *notification) {
	at := m.locate(w, n, atWorking, n.arguments[0])
	if at == nil {
		m.own(w, n)
		return
	}
	m.perform(w, n, false, func(l lookup) outcome {
		fd, _, errno := l.find(at, 0)
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err != nil {
			return failed(errnoOf(err))
		}
		o := outcome{fd: -1, at: at, address: n.arguments[1]}
		o.output = append(o.output, unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st))...)
		return o
	})
}

// brokeredAccess is access, faccessat and faccessat2: what the grant allows,
// of what is there.
func (m *Monitor) brokeredAccess(w *work, n *notification, directory uint64, pathAt int, flags uint64) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	mode := n.arguments[pathAt+1]
	if mode&^7 != 0 {
		m.respond(w, n, unix.EINVAL)
		return
	}
	if m.unknownFlags(w, n, flags, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EACCESS|unix.AT_EMPTY_PATH) {
		return
	}
	m.perform(w, n, true, func(l lookup) outcome {
		fd, st, errno := l.find(at, follow(flags))
		if errno != 0 {
			return leaving(at, errno)
		}
		unix.Close(fd)
		access := at.grant.Access
		switch {
		case mode&unix.R_OK != 0 && access&plan.Read == 0,
			mode&unix.W_OK != 0 && access&(plan.Write|plan.Append) == 0,
			// What lies beneath a grant is never executed.
			mode&unix.X_OK != 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR:
			// A question is no attempt: there is nothing to report.
			return failed(unix.EACCES)
		}
		return failed(0)
	})
}

// brokeredReadlink is readlink and readlinkat.
func (m *Monitor) brokeredReadlink(w *work, n *notification, directory uint64, pathAt int) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	size := int(int32(n.arguments[pathAt+2]))
	if size <= 0 {
		m.respond(w, n, unix.EINVAL)
		return
	}
	m.perform(w, n, true, func(l lookup) outcome {
		fd, st, errno := l.find(at, unix.O_NOFOLLOW)
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return failed(unix.EINVAL)
		}
		b := make([]byte, min(size, unix.PathMax))
		got, err := unix.Readlinkat(fd, "", b)
		if err != nil {
			return failed(errnoOf(err))
		}
		return outcome{fd: -1, at: at, output: b[:got], address: n.arguments[pathAt+1], value: int64(got)}
	})
}

// brokeredAttribute answers the calls on extended attributes: there are none
// beneath grants, as on a file system without them.
func (m *Monitor) brokeredAttribute(w *work, n *notification) {
	at := m.locate(w, n, atWorking, n.arguments[0])
	if at == nil {
		m.own(w, n)
		return
	}
	m.respond(w, n, unix.EOPNOTSUPP)
}

// unknownFlags answers a call with flags that none of its kind has, as the kernel does.
func (m *Monitor) unknownFlags(w *work, n *notification, flags uint64, known int) bool {
	unknown := int(int32(flags))&^known != 0
	if unknown {
		m.respond(w, n, unix.EINVAL)
	}
	return unknown
}

// brokeredMode is chmod, fchmodat and fchmodat2. Whose the file is the kernel
// looks at: the hand that does it has the component's ids and no right to
// others' files.
func (m *Monitor) brokeredMode(w *work, n *notification, directory uint64, pathAt int, flags uint64) {
	mode := uint32(n.arguments[pathAt+1])
	at := m.locateThrough(w, n, directory, n.arguments[pathAt], flags)
	switch {
	case at == nil:
		m.ownMode(w, n, mode)
	case !m.unknownFlags(w, n, flags, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH):
		m.changeAt(w, n, at, follow(flags), setMode(mode))
	}
}

// brokeredDescriptorMode is fchmod. Of a stand-in it means the directory that it
// stands for; any other descriptor is the program's own, and whether the call is
// allowed without the bits that lend rights is a matter of registers.
func (m *Monitor) brokeredDescriptorMode(w *work, n *notification) {
	mode := uint32(n.arguments[1])
	switch at := m.standsFor(w, n, int(int32(n.arguments[0]))); {
	case at != nil:
		m.changeAt(w, n, at, 0, setMode(mode))
	case mode&setID == 0 && n.lacking == 0:
		m.proceed(w, n)
	default:
		m.ownMode(w, n, mode)
	}
}

// setID are the bits that lend a file's user and group to whoever executes it.
const setID = unix.S_ISUID | unix.S_ISGID

// ownMode is own for a change of mode. It lends no rights: the descriptor, or what
// /proc/self/fd leads to, may be a granted file, on the host, where no mount stops
// that; and the path may be another one by the time that the kernel reads it.
func (m *Monitor) ownMode(w *work, n *notification, mode uint32) {
	if mode&setID == 0 || n.lacking != 0 {
		m.own(w, n)
		return
	}
	m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EPERM, object: "special a mode with set-user-ID or set-group-ID"})
	m.respond(w, n, unix.EPERM)
}

func setMode(mode uint32) func(*spot, int, *unix.Stat_t) syscall.Errno {
	mode &= 0o7777
	return func(_ *spot, fd int, st *unix.Stat_t) syscall.Errno {
		// What the kernel leaves of a new directory's group bit it may keep.
		if mode&^uint32(st.Mode)&setID != 0 {
			return unix.EPERM
		}
		return errnoOrZero(unix.Chmod("/proc/self/fd/"+itoa(fd), mode))
	}
}

// brokeredOwner is chown, lchown and fchownat: to the ids that it has already.
func (m *Monitor) brokeredOwner(w *work, n *notification, directory uint64, pathAt int, flags uint64) {
	m.change(w, n, directory, pathAt, flags, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, setOwner(w, uint32(n.arguments[pathAt+1]), uint32(n.arguments[pathAt+2])))
}

// brokeredDescriptorOwner is fchown, as brokeredDescriptorMode is fchmod.
func (m *Monitor) brokeredDescriptorOwner(w *work, n *notification) {
	at := m.standsFor(w, n, int(int32(n.arguments[0])))
	if at == nil {
		m.own(w, n)
		return
	}
	m.changeAt(w, n, at, 0, setOwner(w, uint32(n.arguments[1]), uint32(n.arguments[2])))
}

func setOwner(w *work, user, group uint32) func(*spot, int, *unix.Stat_t) syscall.Errno {
	as := w.component.Component
	return func(_ *spot, fd int, st *unix.Stat_t) syscall.Errno {
		// nobody is also what other people's ids are shown as.
		const same = ^uint32(0)
		if user != same && (user != shownUser(as, st.Uid) || user == nobody && st.Uid != as.Hosts.UID) ||
			group != same && (group != shownGroup(as, st.Gid) || group == nobody && st.Gid != as.Hosts.GID) {
			return unix.EPERM
		}
		return 0
	}
}

// brokeredTimes is utimensat, and read tells the times of the older calls.
func (m *Monitor) brokeredTimes(w *work, n *notification, directory uint64, pathAt int, flags uint64, read func(*Monitor, *work, *notification, uint64) ([]unix.Timespec, syscall.Errno)) {
	var times []unix.Timespec
	if pointer := n.arguments[pathAt+1]; pointer != 0 && n.arguments[pathAt] != 0 {
		var errno syscall.Errno
		if times, errno = read(m, w, n, pointer); errno != 0 {
			m.respond(w, n, errno)
			return
		}
	}
	m.change(w, n, directory, pathAt, flags, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, func(at *spot, fd int, st *unix.Stat_t) syscall.Errno {
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		if times == nil {
			now := unix.Timespec{Nsec: unix.UTIME_NOW}
			times = []unix.Timespec{now, now}
		}
		return errnoOrZero(unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), times, 0))
	})
}

// Times as utimensat(2), utimes(2) and utime(2) have them.

func timespecs(m *Monitor, w *work, n *notification, pointer uint64) ([]unix.Timespec, syscall.Errno) {
	times := make([]unix.Timespec, 2)
	return times, m.readMemory(w, n, pointer, unsafe.Slice((*byte)(unsafe.Pointer(&times[0])), 2*unsafe.Sizeof(times[0])))
}

func timevals(m *Monitor, w *work, n *notification, pointer uint64) ([]unix.Timespec, syscall.Errno) {
	times, errno := timespecs(m, w, n, pointer)
	for i := range times {
		if errno == 0 && (times[i].Nsec < 0 || times[i].Nsec >= 1000000) {
			errno = unix.EINVAL
		}
		times[i].Nsec *= 1000
	}
	return times, errno
}

func seconds(m *Monitor, w *work, n *notification, pointer uint64) ([]unix.Timespec, syscall.Errno) {
	var b [16]byte // struct utimbuf
	errno := m.readMemory(w, n, pointer, b[:])
	return []unix.Timespec{{Sec: int64(binary.NativeEndian.Uint64(b[:]))}, {Sec: int64(binary.NativeEndian.Uint64(b[8:]))}}, errno
}

// change finds what a path names, which must be beneath a grant that may be
// written, and changes something about it. flags are the call's, of which known
// exist.
func (m *Monitor) change(w *work, n *notification, directory uint64, pathAt int, flags uint64, known int, do func(at *spot, fd int, st *unix.Stat_t) syscall.Errno) {
	at := m.locateThrough(w, n, directory, n.arguments[pathAt], flags)
	if at == nil {
		m.own(w, n)
		return
	}
	if !m.unknownFlags(w, n, flags, known) {
		m.changeAt(w, n, at, follow(flags), do)
	}
}

// changeAt is change for a place that is known.
func (m *Monitor) changeAt(w *work, n *notification, at *spot, follow int, do func(at *spot, fd int, st *unix.Stat_t) syscall.Errno) {
	m.perform(w, n, false, func(l lookup) outcome {
		fd, st, errno := l.find(at, follow)
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		if !writes(at.grant) {
			return refusedFor("write " + at.text())
		}
		return failed(do(at, fd, &st))
	})
}

// brokeredTruncate is truncate(2): an append grant never does it.
func (m *Monitor) brokeredTruncate(w *work, n *notification) {
	length, most := int64(n.arguments[1]), w.component.Limits.FileSize
	m.change(w, n, atWorking, 0, 0, 0, func(at *spot, fd int, st *unix.Stat_t) syscall.Errno {
		switch {
		case length < 0:
			return unix.EINVAL
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			return unix.EISDIR
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			return unix.EINVAL
		case most != 0 && length > st.Size && uint64(length) > most:
			return unix.EFBIG // its own limit, which the kernel does not know here
		}
		return errnoOrZero(unix.Truncate("/proc/self/fd/"+itoa(fd), length))
	})
}
