package monitor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maximumList bounds what one getdents64 of a worker returns. Libraries ask for
// 32 KiB, and all take less.
const maximumList = 64 << 10

// brokeredList answers getdents64. Where the program is in the directory is
// the position of its own descriptor, which it shares with its copies and can
// set back; it is that of the granted directory, which is opened for each call.
func (m *Monitor) brokeredList(w *work, n *notification) {
	number := int(int32(n.arguments[0]))
	name, errno := directoryName(n.pid, number)
	if name == "" {
		n.lacking = errno
		m.own(w, n)
		return
	}
	at := w.component.files.find(name, w.dropped)
	if at == nil || at.standIn == "" {
		m.own(w, n)
		return
	}
	mine, errno := m.fetchNumber(w, n, number)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	if !isDirectory(mine, "") {
		unix.Close(mine)
		m.own(w, n)
		return
	}
	position, err := unix.Seek(mine, 0, unix.SEEK_CUR)
	if err != nil {
		unix.Close(mine)
		m.respond(w, n, errnoOf(err))
		return
	}
	size := min(uint32(n.arguments[2]), maximumList)
	m.entrust(w, n, mine, func(l lookup) outcome {
		o := l.list(at, position, int(size))
		o.address = n.arguments[1]
		o.done = func() {
			if len(o.output) > 0 {
				unix.Seek(mine, o.next, unix.SEEK_SET)
			}
		}
		return o
	})
}

// list reads records of a directory from a position on.
func (l lookup) list(at *spot, position int64, size int) outcome {
	root, name, errno := l.root(at.grant, at.path)
	if errno != 0 {
		return failed(errno)
	}
	defer l.leave(root)
	fd, errno := l.open(root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errno != 0 {
		return failed(errno)
	}
	defer unix.Close(fd)
	if _, err := unix.Seek(fd, position, unix.SEEK_SET); err != nil {
		return failed(errnoOf(err))
	}
	b := make([]byte, size)
	got, err := unix.Getdents(fd, b)
	if err != nil {
		return failed(errnoOf(err))
	}
	o := outcome{fd: -1, output: b[:got], value: int64(got), next: position}
	for rest := b[:got]; len(rest) > 0; {
		entry := (*unix.Dirent)(unsafe.Pointer(&rest[0]))
		o.next = entry.Off
		rest = rest[entry.Reclen:]
	}
	return o
}

// brokeredChange answers chdir: into the stand-in, by the kernel.
func (m *Monitor) brokeredChange(w *work, n *notification) {
	at := m.locate(w, n, atWorking, n.arguments[0])
	if at == nil {
		m.own(w, n)
		return
	}
	m.perform(w, n, true, func(l lookup) outcome {
		fd, _, errno := l.find(at, unix.O_DIRECTORY)
		if errno != 0 {
			return leaving(at, errno)
		}
		defer unix.Close(fd)
		return l.standing(at, fd)
	})
}

// standing ends a call with the kernel's own work on the stand-in. It decides
// nothing: the stand-in is empty, and what the call may reach of the
// compartment instead is the compartment's.
func (l lookup) standing(at *spot, fd int) outcome {
	o := outcome{fd: -1, at: at, proceed: true}
	if at.standIn != "" {
		o.stands, o.errno = l.stands(at, fd)
	}
	return o
}

// standsFor is the directory that a stand-in stands for which a program has open at
// a number; nil where what it has there is its own.
func (m *Monitor) standsFor(w *work, n *notification, number int) *spot {
	name, errno := directoryName(n.pid, number)
	if name == "" {
		n.lacking = errno
		return nil // the kernel says what is wrong, or own does
	}
	at := w.component.files.find(name, w.dropped)
	if at == nil || at.standIn == "" || !m.valid(w, n) {
		return nil
	}
	if !isDirectory(unix.AT_FDCWD, "/proc/"+itoa(n.pid)+"/fd/"+itoa(number)) {
		return nil
	}
	return at
}

// brokeredSync answers fsync. That of a stand-in means the names in the
// directory that it stands for; any other is the program's own.
func (m *Monitor) brokeredSync(w *work, n *notification) {
	at := m.standsFor(w, n, int(int32(n.arguments[0])))
	if at == nil {
		m.own(w, n)
		return
	}
	m.perform(w, n, false, func(l lookup) outcome {
		root, name, errno := l.root(at.grant, at.path)
		if errno != 0 {
			return failed(errno)
		}
		defer l.leave(root)
		fd, errno := l.open(root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errno != 0 {
			return failed(errno)
		}
		defer unix.Close(fd)
		return failed(errnoOrZero(unix.Fsync(fd)))
	})
}

// isDirectory looks at what a descriptor or a link of /proc refers to, without
// asking a file system that might have to ask another machine.
func isDirectory(fd int, link string) bool {
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	if link == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	return unix.Statx(fd, link, flags, unix.STATX_TYPE, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
