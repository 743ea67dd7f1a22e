package monitor

import (
	"path"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// The flags of open(2) that a worker may ask for.
const openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC | unix.O_APPEND |
	unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_SYNC | unix.O_DSYNC | unix.O_LARGEFILE | unix.O_NOFOLLOW

func (m *Monitor) answerOpen(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	flags, mode, name, rest := int(b.U32()), b.U32(), b.Bytes(), b.Bytes()
	if b.End() != nil {
		return refused(errMalformed)
	}
	_, g, errno := m.granted(w, name, plan.GrantFile, plan.GrantDirectory, plan.GrantDevice)
	if errno != 0 {
		m.denyGrant(w, h.Op, errno, "open "+string(name)+"/"+string(rest))
		return refused(errno)
	}
	if g.Create && flags&unix.O_ACCMODE != unix.O_RDONLY {
		// "Made when it is not there", with the grant's mode, whether it
		// is delivered at start or on request.
		flags, mode = flags|unix.O_CREAT, g.Mode
	}
	o := asked{grant: g, path: string(rest), flags: flags, mode: mode}
	fd, errno := o.open(m.soon())
	if errno == unix.EAGAIN {
		return m.openElsewhere(w, h, o)
	}
	return m.opened(w, h, o, fd, errno)
}

// openElsewhere is for an open that may wait: for a disk, for another machine, for
// the holder of a lease.
func (m *Monitor) openElsewhere(w *work, h wire.Header, o asked) answer {
	fd := -1
	if !m.elsewhere(w.component, func() (errno syscall.Errno) {
		fd, errno = o.open(m.atLeisure())
		return errno
	}, func(errno syscall.Errno) {
		m.answer(w, h, m.opened(w, h, o, fd, errno))
	}) {
		return refused(unix.EAGAIN)
	}
	return later()
}

// opened is the answer to an open, written down.
func (m *Monitor) opened(w *work, h wire.Header, o asked, fd int, errno syscall.Errno) answer {
	if errno != 0 {
		m.denyGrant(w, h.Op, errno, "open "+o.grant.Name+"/"+o.path)
		return refused(errno)
	}
	m.record(w, o.grant, o.path)
	return answer{fd: fd}
}

// asked is an open of what a grant gives, by a worker that asks for it or at its
// start.
type asked struct {
	grant *plan.Grant
	path  string // beneath the grant's directory
	flags int
	mode  uint32
}

// open opens what the grant allows, never more. The type is looked at before
// anything is opened for real: an open of a FIFO may block, one of a device
// may act, and a descriptor of a directory is a ladder out of the compartment.
func (o asked) open(l lookup) (int, syscall.Errno) {
	g := o.grant
	if o.flags&^openFlags != 0 {
		return -1, unix.EINVAL
	}
	if errno := accessible(g, o.flags); errno != 0 {
		return -1, errno
	}
	switch {
	case g.Kind != plan.GrantDirectory && o.path != "":
		return -1, unix.ENOTDIR
	case g.Kind == plan.GrantDirectory && o.path == "":
		return -1, unix.EISDIR
	case l.held != nil && (g.Kind == plan.GrantDevice || o.flags&unix.O_TRUNC != 0):
		return -1, unix.EAGAIN // a driver, and what is written down, take their time
	}
	root, name, errno := l.root(g, o.path)
	if errno != 0 {
		return -1, errno
	}
	defer l.leave(root)
	if g.Kind == plan.GrantFile {
		if fd := l.openFile(root, name, o.flags); fd >= 0 {
			return fd, 0
		}
	}
	create := 0
	if o.flags&unix.O_CREAT != 0 && l.held == nil {
		create = o.flags &^ unix.O_TRUNC
	}
	seen, made, errno := l.findOrMake(root, name, 0, create, uint64(o.mode&0o777))
	switch {
	case errno == unix.ENOENT && o.flags&unix.O_CREAT != 0 && l.held != nil, errno == unix.EEXIST:
		return -1, unix.EAGAIN // what makes something may wait
	case errno != 0:
		return -1, errno
	case made >= 0:
		return made, giveAway(made, root)
	}
	defer unix.Close(seen)
	return o.reopen(l, seen)
}

// accessible compares what is asked with what the grant allows.
func accessible(g *plan.Grant, flags int) syscall.Errno {
	reads, writes := false, false
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		reads = true
	case unix.O_WRONLY:
		writes = true
	case unix.O_RDWR:
		reads, writes = true, true
	default:
		return unix.EINVAL
	}
	// O_TRUNC and O_CREAT change things whatever the access mode says.
	changes := writes || flags&(unix.O_TRUNC|unix.O_CREAT) != 0
	switch {
	case reads && g.Access&plan.Read == 0:
		return unix.EACCES
	case changes && g.Access&plan.Write != 0:
		return 0
	case writes && g.Access&plan.Append != 0 && flags&unix.O_APPEND != 0 && flags&unix.O_TRUNC == 0:
		return 0
	case changes:
		return unix.EACCES
	}
	return 0
}

// openat2 opens a path that stays beneath root, whatever symbolic links say
// (openat2(2), Linux 5.6).
func openat2(root int, path string, flags int, mode uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    mode,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for range 16 {
		fd, err := unix.Openat2(root, path, &how)
		// EAGAIN: something was renamed during the walk.
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// reopen opens for real what an O_PATH descriptor has found.
func (o asked) reopen(l lookup, seen int) (int, syscall.Errno) {
	var st unix.Stat_t
	if err := unix.Fstat(seen, &st); err != nil {
		return -1, errnoOf(err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return -1, unix.EISDIR
	case unix.S_IFCHR, unix.S_IFBLK:
		if o.grant.Kind != plan.GrantDevice {
			return -1, unix.EACCES
		}
	default:
		return -1, unix.EACCES
	}
	if o.flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		return -1, unix.EEXIST
	}
	return l.reopen(seen, o.flags&^(unix.O_CREAT|unix.O_EXCL))
}

// giveAway lets a new file belong to whom its directory belongs to: the
// monitor, who made it, is nobody that an administrator would look for.
func giveAway(fd, directory int) syscall.Errno {
	var st unix.Stat_t
	err := unix.Fstat(directory, &st)
	if err == nil {
		err = unix.Fchown(fd, int(st.Uid), int(st.Gid))
	}
	if err != nil && err != unix.EPERM { // EPERM: an ordinary user's broker
		unix.Close(fd)
		return err.(syscall.Errno)
	}
	return 0
}

// openAtStart opens the file grants that the plan delivers at start. The
// descriptors are the caller's, also those before an error.
func (m *Monitor) openAtStart(c *component) ([]worker.Passed, error) {
	var passed []worker.Passed
	for _, b := range c.Grants {
		g := &m.plan.Grants[b.Grant]
		if b.Number < 0 || g.Kind == plan.GrantListen || g.Kind == plan.GrantConnect {
			continue
		}
		fd, errno := openGrant(g)
		if errno == unix.ENOENT {
			go m.renew(path.Dir(g.Path)) // for the next start
		}
		if errno != 0 {
			return passed, &grantError{g, errno}
		}
		passed = append(passed, worker.Passed{FD: fd, Number: b.Number})
	}
	return passed, nil
}

// openGrant opens a grant that is a file or a device, with all its access.
func openGrant(g *plan.Grant) (int, syscall.Errno) {
	flags := unix.O_RDONLY
	switch {
	case g.Access&plan.Write != 0 && g.Access&plan.Read != 0:
		flags = unix.O_RDWR
	case g.Access&plan.Write != 0:
		flags = unix.O_WRONLY
	case g.Access&plan.Append != 0:
		flags = unix.O_WRONLY | unix.O_APPEND
	}
	if g.Create {
		flags |= unix.O_CREAT
	}
	return asked{grant: g, flags: flags, mode: g.Mode}.open(lookup{hasty: true})
}

// grantError is a grant that could not be opened when a worker started.
type grantError struct {
	grant *plan.Grant
	errno syscall.Errno
}

func (e *grantError) Error() string {
	p := e.grant.Position
	what := e.grant.Path
	if what == "" {
		what = e.grant.Socket()
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column) +
		": open grant " + e.grant.Name + " (" + what + "): " + e.errno.Error()
}

func (e *grantError) Unwrap() error { return e.errno }
