package monitor

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Calls that change names beneath a granted directory. Each acts on the
// directory that the name stands in, which the kernel has found beneath the
// granted one, and on the last name only, which none of them follows.

// brokeredName finds that directory for one path and does something with the
// name, where the grant may be written.
func (m *Monitor) brokeredName(w *work, n *notification, at *spot, do func(parent int, last string) syscall.Errno, done func()) {
	m.perform(w, n, false, func(l lookup) outcome {
		parent, last, errno := l.parent(at)
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(parent)
		if !writes(at.grant) {
			return refusedFor("write " + at.text())
		}
		o := failed(do(parent, last))
		o.done = done
		return o
	})
}

// brokeredUnlink is unlink, rmdir and unlinkat.
func (m *Monitor) brokeredUnlink(w *work, n *notification, directory uint64, pathAt int, flags uint64) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	if flags&^unix.AT_REMOVEDIR != 0 {
		m.respond(w, n, unix.EINVAL)
		return
	}
	f := w.component.files
	m.brokeredName(w, n, at, func(parent int, last string) syscall.Errno {
		if flags == 0 && strings.HasSuffix(at.path, "/") {
			last += "/" // the kernel says what is wrong with that
		}
		return errnoOrZero(unix.Unlinkat(parent, last, int(flags)))
	}, func() {
		if flags&unix.AT_REMOVEDIR != 0 {
			f.goneStandIn(at)
		}
	})
}

// brokeredMake is mkdir and mkdirat.
func (m *Monitor) brokeredMake(w *work, n *notification, directory uint64, pathAt int) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	if at.path == "" {
		m.respond(w, n, unix.EEXIST)
		return
	}
	mode := uint32(n.arguments[pathAt+1]) & 0o1777 &^ umaskOf(n.pid)
	if !m.valid(w, n) {
		return
	}
	m.brokeredName(w, n, at, func(parent int, last string) syscall.Errno {
		if err := unix.Mkdirat(parent, last, mode|0o700); err != nil {
			return errnoOf(err)
		}
		// Whatever the monitor's own umask is. Only the owner may, and so
		// nothing that somebody else has put there meanwhile is changed.
		fd, err := unix.Openat(parent, last, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0 // it is gone again
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			unix.Fchmod(fd, mode|st.Mode&unix.S_ISGID)
		}
		return 0
	}, nil)
}

// brokeredRename is rename, renameat and renameat2: within one grant.
func (m *Monitor) brokeredRename(w *work, n *notification, oldDirectory uint64, oldAt int, newDirectory uint64, newAt int, flags uint64) {
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		m.respond(w, n, unix.EINVAL) // RENAME_WHITEOUT makes a device, also in the compartment
		return
	}
	from, to, ok := m.locateBoth(w, n, oldDirectory, oldAt, newDirectory, newAt)
	if !ok {
		return
	}
	f := w.component.files
	m.performBoth(w, n, from, to, func(oldParent int, oldLast string, newParent int, newLast string) outcome {
		if !writes(from.grant) {
			return refusedFor("write " + from.text())
		}
		var before unix.Stat_t
		directory := unix.Fstatat(oldParent, oldLast, &before, unix.AT_SYMLINK_NOFOLLOW) == nil && before.Mode&unix.S_IFMT == unix.S_IFDIR
		if strings.HasSuffix(from.path, "/") {
			oldLast += "/"
		}
		if strings.HasSuffix(to.path, "/") {
			newLast += "/"
		}
		o := failed(errnoOrZero(unix.Renameat2(oldParent, oldLast, newParent, newLast, uint(flags))))
		o.done = func() {
			switch {
			case flags&unix.RENAME_EXCHANGE != 0:
				f.goneStandIn(from)
				f.goneStandIn(to)
			case directory:
				f.movedStandIn(from, to)
			}
		}
		return o
	})
}

// brokeredLink is link and linkat: another name for a file within one grant,
// which gives nobody a right that he has not. Elsewhere it would carry a file
// from one grant's rules to another's.
func (m *Monitor) brokeredLink(w *work, n *notification, oldDirectory uint64, oldAt int, newDirectory uint64, newAt int, flags uint64) {
	from, to, ok := m.locateBoth(w, n, oldDirectory, oldAt, newDirectory, newAt)
	if !ok {
		return
	}
	if flags != 0 {
		// AT_EMPTY_PATH and AT_SYMLINK_FOLLOW name files by descriptors.
		m.refuseSpecial(w, n, to)
		return
	}
	m.performBoth(w, n, from, to, func(oldParent int, oldLast string, newParent int, newLast string) outcome {
		if !writes(to.grant) {
			return refusedFor("write " + to.text())
		}
		var st unix.Stat_t
		if err := unix.Fstatat(oldParent, oldLast, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return failed(errnoOf(err))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return failed(unix.EPERM)
		}
		if strings.HasSuffix(from.path, "/") || strings.HasSuffix(to.path, "/") {
			newLast += "/" // the kernel says what is wrong with that
		}
		return failed(errnoOrZero(unix.Linkat(oldParent, oldLast, newParent, newLast, 0)))
	})
}

// brokeredSymlink refuses symlink and symlinkat: what such a link says leads
// whoever follows it, outside the compartment too.
func (m *Monitor) brokeredSymlink(w *work, n *notification, directory uint64, pathAt int) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	m.refuseSpecial(w, n, at)
}

func (m *Monitor) refuseSpecial(w *work, n *notification, at *spot) {
	if m.valid(w, n) {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EPERM, object: "special " + at.text()})
	}
	m.respond(w, n, unix.EPERM)
}

// performBoth performs a call on two names, in the directories where they are.
func (m *Monitor) performBoth(w *work, n *notification, from, to *spot, do func(oldParent int, oldLast string, newParent int, newLast string) outcome) {
	m.perform(w, n, false, func(l lookup) outcome {
		oldParent, oldLast, errno := l.parent(from)
		if errno != 0 {
			return leaving(from, errno)
		}
		defer unix.Close(oldParent)
		newParent, newLast, errno := l.parent(to)
		if errno != 0 {
			return leaving(to, errno)
		}
		defer unix.Close(newParent)
		return do(oldParent, oldLast, newParent, newLast)
	})
}

// locateBoth locates the two paths of a call that stays within one grant. It
// answers all others: between two grants, or a grant and the compartment, it is
// as between two file systems, and programs copy.
func (m *Monitor) locateBoth(w *work, n *notification, oldDirectory uint64, oldAt int, newDirectory uint64, newAt int) (from, to *spot, ok bool) {
	from = m.locate(w, n, oldDirectory, n.arguments[oldAt])
	to = m.locate(w, n, newDirectory, n.arguments[newAt])
	switch {
	case from == nil && to == nil, n.lacking != 0:
		m.own(w, n)
	case from == nil || to == nil || from.index != to.index:
		m.respond(w, n, unix.EXDEV)
	default:
		return from, to, true
	}
	return nil, nil, false
}
