package monitor

import (
	"cmp"
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// creating are the flags of creat(2).
const creating = unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC

// temporary is O_TMPFILE without the O_DIRECTORY in it.
const temporary = unix.O_TMPFILE &^ unix.O_DIRECTORY

const largeFile = 0o100000 // O_LARGEFILE, which libraries of 64 bits have as 0

// openable are the flags that openat2(2) knows; other calls leave unknown ones alone.
const openable = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK | unix.O_SYNC |
	unix.O_ASYNC | unix.O_DIRECT | largeFile | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | temporary

// opening is one open by a program that nobody changed.
type opening struct {
	at    *spot
	flags int
	mode  uint32 // without the program's umask
}

// brokeredOpen opens a path beneath a grant for a program. pathAt is the
// number of the argument that points to it.
func (m *Monitor) brokeredOpen(w *work, n *notification, directory uint64, pathAt int, flags, mode uint64) {
	at := m.locate(w, n, directory, n.arguments[pathAt])
	if at == nil {
		m.own(w, n)
		return
	}
	m.openFor(w, n, at, int(int32(flags)), uint32(mode))
}

// brokeredOpenHow is openat2(2).
func (m *Monitor) brokeredOpenHow(w *work, n *notification) {
	at := m.locate(w, n, n.arguments[0], n.arguments[1])
	if at == nil {
		m.own(w, n)
		return
	}
	var how [24]byte // struct open_how: flags, mode, resolve
	if n.arguments[3] < uint64(len(how)) {
		m.respond(w, n, unix.EINVAL)
		return
	}
	if errno := m.readMemory(w, n, n.arguments[2], how[:]); errno != 0 {
		m.respond(w, n, errno)
		return
	}
	flags, mode, resolve := binary.NativeEndian.Uint64(how[:]), binary.NativeEndian.Uint64(how[8:]), binary.NativeEndian.Uint64(how[16:])
	switch {
	case resolve&^(unix.RESOLVE_NO_XDEV|unix.RESOLVE_NO_MAGICLINKS) != 0:
		// Beneath its own directory, or no symbolic links: names say too
		// little for that. Programs that ask for it do without elsewhere.
		m.respond(w, n, unix.ENOSYS)
	case flags&^openable != 0, mode&^0o7777 != 0, mode != 0 && flags&(unix.O_CREAT|temporary) == 0,
		flags&unix.O_PATH != 0 && flags&^(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC) != 0:
		m.respond(w, n, unix.EINVAL)
	default:
		m.openFor(w, n, at, int(flags), uint32(mode))
	}
}

func (m *Monitor) openFor(w *work, n *notification, at *spot, flags int, mode uint32) {
	if at.grant.Create && flags&(unix.O_ACCMODE|unix.O_PATH) != unix.O_RDONLY {
		flags |= unix.O_CREAT // as on request: it is made when it is not there
	}
	o := &opening{at: at, flags: flags, mode: mode & 0o777}
	makes := flags&(unix.O_CREAT|temporary) != 0
	if makes {
		o.mode &^= umaskOf(n.pid)
		if !m.valid(w, n) {
			return
		}
	}
	soon := !makes && flags&unix.O_TRUNC == 0
	m.perform(w, n, soon, func(l lookup) outcome {
		result := o.open(l)
		result.at, result.record, result.onExec = at, result.fd >= 0, flags&unix.O_CLOEXEC != 0
		return result
	})
}

// open does what openat(2) does, within what the grant says.
func (o *opening) open(l lookup) outcome {
	if o.flags&temporary != 0 {
		return o.openTemporary(l)
	}
	root, name, errno := l.root(o.at.grant, o.at.path)
	if errno != 0 {
		return failed(errno)
	}
	defer l.leave(root)
	if o.at.grant.Kind == plan.GrantFile && o.beyond(o.flags) == "" {
		if fd := l.openFile(root, name, o.kept()|o.flags&(unix.O_CREAT|unix.O_PATH|unix.O_DIRECTORY)); fd >= 0 {
			return outcome{fd: fd}
		}
	}
	look := 0
	if o.flags&unix.O_NOFOLLOW != 0 || o.flags&unix.O_CREAT != 0 && o.flags&unix.O_EXCL != 0 {
		look |= unix.O_NOFOLLOW
	}
	create, beyond := 0, ""
	if o.flags&unix.O_CREAT != 0 {
		if beyond = o.beyond(o.flags); beyond == "" {
			create = o.kept() | unix.O_CREAT | unix.O_NOFOLLOW
		}
	}
	seen, made, errno := l.findOrMake(root, name, look, create, 0o600)
	switch {
	case errno == unix.ENOENT && beyond != "":
		return o.refuse(beyond)
	case errno == unix.EEXIST:
		return failed(unix.ENOENT) // a symbolic link to nothing
	case errno != 0:
		return o.leaving(errno)
	case made >= 0:
		return o.made(made)
	}
	defer unix.Close(seen)
	return o.openSeen(l, seen)
}

// made gives a new file its mode, whatever the monitor's own umask is.
func (o *opening) made(fd int) outcome {
	mode := o.mode
	if o.at.grant.Create {
		mode = o.at.grant.Mode
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		unix.Close(fd)
		return failed(errnoOf(err))
	}
	return outcome{fd: fd}
}

// openSeen opens what was found there.
func (o *opening) openSeen(l lookup, seen int) outcome {
	var st unix.Stat_t
	if err := unix.Fstat(seen, &st); err != nil {
		return failed(errnoOf(err))
	}
	if o.flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		return failed(unix.EEXIST)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		if o.flags&unix.O_DIRECTORY != 0 {
			return failed(unix.ENOTDIR)
		}
		return failed(unix.ELOOP) // asked for with O_NOFOLLOW
	case unix.S_IFDIR:
		if o.flags&unix.O_PATH == 0 && o.flags&(unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC) != 0 {
			return failed(unix.EISDIR)
		}
		result := l.standing(o.at, seen)
		result.record = true
		return result
	case unix.S_IFSOCK:
		return failed(unix.ENXIO)
	default:
		return o.refuse("special")
	}
	if o.flags&unix.O_DIRECTORY != 0 {
		return failed(unix.ENOTDIR)
	}
	if o.flags&unix.O_PATH != 0 {
		return o.refuse("special")
	}
	if what := o.beyond(o.flags &^ unix.O_CREAT); what != "" {
		return o.refuse(what)
	}
	fd, errno := l.reopen(seen, o.kept())
	return outcome{fd: fd, errno: errno}
}

// openTemporary is O_TMPFILE: a file without a name, in a directory.
func (o *opening) openTemporary(l lookup) outcome {
	if what := o.beyond(o.flags&^temporary | unix.O_CREAT); what != "" {
		return o.refuse(what)
	}
	if o.flags&unix.O_ACCMODE == unix.O_RDONLY {
		return failed(unix.EINVAL)
	}
	root, name, errno := l.root(o.at.grant, o.at.path)
	if errno != 0 {
		return failed(errno)
	}
	defer l.leave(root)
	// O_EXCL: it never gets a name. linkat is not for programs that are
	// confined.
	fd, errno := l.open(root, name, o.kept()|unix.O_TMPFILE|unix.O_EXCL, 0o600)
	if errno != 0 {
		return o.leaving(errno)
	}
	if err := unix.Fchmod(fd, o.mode); err != nil {
		unix.Close(fd)
		return failed(errnoOf(err))
	}
	return outcome{fd: fd}
}

// kept are the flags that the file is really opened with.
func (o *opening) kept() int {
	return o.flags&(unix.O_ACCMODE|unix.O_TRUNC|unix.O_APPEND|unix.O_NONBLOCK|unix.O_SYNC|unix.O_DSYNC|unix.O_DIRECT|unix.O_NOFOLLOW) | unix.O_CLOEXEC
}

// beyond says what of the grant's access is missing, "" for nothing.
func (o *opening) beyond(flags int) string {
	errno := accessible(o.at.grant, flags)
	switch {
	case errno == 0:
		return ""
	case flags&unix.O_ACCMODE == unix.O_RDONLY && o.at.grant.Access&plan.Read == 0:
		return "read"
	}
	return "write"
}

func (o *opening) refuse(what string) outcome {
	return refusedFor(what + " " + o.at.text())
}

// leaving is what a program hears of a symbolic link or mount that leads out
// of the granted directory.
func (o *opening) leaving(errno syscall.Errno) outcome { return leaving(o.at, errno) }

func leaving(at *spot, errno syscall.Errno) outcome {
	if errno == unix.EXDEV {
		return refusedFor("leave " + at.text())
	}
	return failed(errno)
}

// readMemory reads a fixed number of bytes of a caller's memory, once.
func (m *Monitor) readMemory(w *work, n *notification, pointer uint64, b []byte) syscall.Errno {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := []unix.RemoteIovec{{Base: uintptr(pointer), Len: len(b)}}
	if got, err := unix.ProcessVMReadv(n.pid, local, remote, 0); err != nil || got != len(b) {
		return cmp.Or(lacking(err), unix.EFAULT)
	}
	if !m.valid(w, n) {
		return unix.EINTR
	}
	return 0
}
