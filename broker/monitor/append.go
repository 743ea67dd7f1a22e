package monitor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// A file that is granted for appending is handed out with O_APPEND. The calls
// by which a worker could change what is in the file all the same come here,
// in components with such a grant: fcntl(F_SETFL) that would clear the flag,
// ftruncate and fallocate. The monitor fetches the descriptor and acts on that,
// or refuses, as the kernel does for files with chattr +a.

// guardedFcntl is fcntl(fd, F_SETFL, flags) without O_APPEND in the flags.
func (m *Monitor) guardedFcntl(w *work, n *notification) {
	command, flags := int32(n.arguments[1]), int(n.arguments[2])
	fd, errno := m.fetchNumber(w, n, int(int32(n.arguments[0])))
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	defer unix.Close(fd)
	has, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		m.respond(w, n, errnoOf(err))
		return
	}
	// O_NOATIME takes a right to the file that the monitor would lend. O_ASYNC has a
	// terminal signal whoever sets it, by the number that the worker chose (F_SETSIG):
	// its own it sets by FIOASYNC.
	if command != unix.F_SETFL || m.appendOnly(w, fd) || flags&(unix.O_NOATIME|unix.O_ASYNC)&^has != 0 {
		m.refuseAppend(w, n, "fcntl F_SETFL")
		return
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	m.respond(w, n, errnoOrZero(err))
}

// guardedTruncate is ftruncate(fd, length).
func (m *Monitor) guardedTruncate(w *work, n *notification) {
	length := int64(n.arguments[1])
	m.resize(w, n, "ftruncate", length, func(fd int) error { return unix.Ftruncate(fd, length) })
}

// guardedAllocate is fallocate(fd, mode, offset, length).
func (m *Monitor) guardedAllocate(w *work, n *notification) {
	mode, offset, length := uint32(n.arguments[1]), int64(n.arguments[2]), int64(n.arguments[3])
	end := offset + length
	if mode&unix.FALLOC_FL_KEEP_SIZE != 0 {
		end = 0
	}
	m.resize(w, n, "fallocate", end, func(fd int) error { return unix.Fallocate(fd, mode, offset, length) })
}

// resize performs a call that gives a file another size, elsewhere because a
// file system may take its time.
func (m *Monitor) resize(w *work, n *notification, call string, size int64, perform func(fd int) error) {
	fd, errno := m.fetchNumber(w, n, int(int32(n.arguments[0])))
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	if m.appendOnly(w, fd) {
		unix.Close(fd)
		m.refuseAppend(w, n, call)
		return
	}
	// The monitor has no limit of its own.
	if limit := w.component.Limits.FileSize; limit > 0 && size > 0 && uint64(size) > limit {
		unix.Close(fd)
		m.respond(w, n, unix.EFBIG)
		return
	}
	if !m.elsewhere(w.component, func() syscall.Errno { return errnoOrZero(perform(fd)) }, func(errno syscall.Errno) {
		unix.Close(fd)
		m.respond(w, n, errno)
	}) {
		unix.Close(fd)
		m.respond(w, n, unix.EAGAIN)
	}
}

func (m *Monitor) refuseAppend(w *work, n *notification, call string) {
	m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EPERM, object: call})
	m.respond(w, n, unix.EPERM)
}

// appendOnly says whether a descriptor is one that an append grant gave. What
// the monitor opened came through its own mounts, and what the worker opened
// itself through those of its compartment, which are others: so a file that
// was rotated away meanwhile is known too, and a component's own files are not
// meant. The flag cannot be cleared, so it tells the truth.
func (m *Monitor) appendOnly(w *work, fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return true
	}
	if flags&unix.O_APPEND == 0 || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return false
	}
	mine, ok := mountOf(fd, "")
	if !ok || m.renewal.mounts[mine] {
		return true
	}
	for _, b := range w.component.Grants {
		g := &m.plan.Grants[b.Grant]
		if g.Kind != plan.GrantFile || g.Access&plan.Append == 0 {
			continue
		}
		root, _, errno := lookup{}.root(g, "")
		if errno != 0 {
			return true
		}
		mount, ok := mountOf(root, g.Path)
		unix.Close(root)
		if !ok || mount == mine {
			return true
		}
	}
	return false
}

// mountOf is the mount that a descriptor came through, or that the file at a
// path beneath its directory would (STATX_MNT_ID, Linux 5.8).
func mountOf(fd int, path string) (uint64, bool) {
	var st unix.Statx_t
	if path != "" {
		if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &st) == nil && st.Mask&unix.STATX_MNT_ID != 0 {
			return st.Mnt_id, true
		}
	}
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err == nil && st.Mask&unix.STATX_MNT_ID != 0
}
