package monitor

import (
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// lookup is how files beneath a grant are looked up.
type lookup struct {
	// held are the directories that the loop holds. With them a lookup goes
	// only as far as the kernel need not wait for a disk or another machine;
	// EAGAIN says that it would have to. nil: it may take its time, and is not
	// on the loop.
	held *roots
	// renew is for a directory that is lost, where held is nil.
	renew func(directory string) bool
	// hasty is for the loop where there is nobody to wait elsewhere: a disk may
	// take its time, but not the holder of a lease, nor a device.
	hasty bool
}

// soon is a lookup that never waits, for the loop.
func (m *Monitor) soon() lookup { return lookup{held: &m.roots} }

// atLeisure is one that may wait, elsewhere.
func (m *Monitor) atLeisure() lookup { return lookup{renew: m.renew} }

const resolveCached = 0x20 // RESOLVE_CACHED, openat2(2), Linux 5.12

// local are file systems of this machine, by the numbers of statfs(2), which
// answer from memory what they have there. Others may ask someone first.
var local = map[int64]bool{
	0xef53: true, 0x58465342: true, 0x9123683e: true, 0xf2f52010: true, // ext2 to ext4, XFS, Btrfs, F2FS
	0x01021994: true, 0x858458f6: true, // tmpfs, ramfs
}

// roots are granted directories that the loop has used lately, by their paths.
type roots struct {
	loop *loop
	open map[string]int
}

// rootAge is how long the loop holds a directory that it has used. Another one
// that somebody puts in its place is found after that, and a file system that it
// is on can be taken away.
const rootAge = time.Second

// get opens a directory, or has it open.
func (r *roots) get(directory string) (int, syscall.Errno) {
	if fd, ok := r.open[directory]; ok {
		return fd, 0
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, directory, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: resolveCached,
	})
	if isLost(fd, err) {
		unix.Close(fd)
		return -1, unix.EAGAIN // it may have been made again
	}
	if err != nil {
		return -1, errnoOf(err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || !local[int64(st.Type)] {
		unix.Close(fd)
		return -1, unix.EAGAIN
	}
	if len(r.open) == 0 {
		r.open = map[string]int{}
		r.loop.after(rootAge, r.forget)
	}
	r.open[directory] = fd
	return fd, 0
}

// forget closes them.
func (r *roots) forget() {
	for _, fd := range r.open {
		unix.Close(fd)
	}
	clear(r.open)
}

// root opens what a path beneath a grant is resolved beneath, and says the name
// there. For a file grant that is the file's directory, so that a file which is
// replaced, as a log by its rotation, is found. The descriptor is given back with
// leave.
func (l lookup) root(g *plan.Grant, rest string) (fd int, name string, errno syscall.Errno) {
	directory, name := g.Path, rest
	if g.Kind != plan.GrantDirectory {
		directory, name = path.Split(path.Clean(g.Path))
	}
	if name == "" {
		name = "."
	}
	if l.held != nil {
		fd, errno = l.held.get(directory)
		return fd, name, errno
	}
	fd, err := unix.Open(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if isLost(fd, err) && l.renew != nil && l.renew(directory) {
		unix.Close(fd)
		fd, err = unix.Open(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	return fd, name, errnoOrZero(err)
}

// leave gives back what root returned.
func (l lookup) leave(root int) {
	if l.held == nil {
		unix.Close(root)
	}
}

// open opens beneath root, as openat2 does.
func (l lookup) open(root int, name string, flags int, mode uint64) (int, syscall.Errno) {
	if l.held == nil {
		fd, err := openat2(root, name, flags, mode)
		return fd, errnoOrZero(err)
	}
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags: uint64(flags | unix.O_CLOEXEC), Mode: mode,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV | resolveCached,
	})
	return fd, errnoOrZero(err)
}

// findOrMake opens what a name beneath root stands for with O_PATH, or makes a file
// there where nothing is and create, flags of open, has O_CREAT. Each of the two
// steps can lose a race against whoever else writes in the directory; neither can be
// tricked by it, only made to start over. EEXIST: all were lost.
func (l lookup) findOrMake(root int, name string, look, create int, mode uint64) (seen, made int, errno syscall.Errno) {
	for range 8 {
		if seen, errno = l.open(root, name, unix.O_PATH|look, 0); errno != unix.ENOENT || create&unix.O_CREAT == 0 {
			return seen, -1, errno
		}
		if made, errno = l.open(root, name, create|unix.O_EXCL, mode); errno != unix.EEXIST {
			return -1, made, errno
		}
	}
	return -1, -1, unix.EEXIST
}

// reopen opens for real what an O_PATH descriptor has found: through /proc, the
// very inode that was looked at, under no name.
func (l lookup) reopen(seen, flags int) (int, syscall.Errno) {
	flags = flags&^unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC
	return l.withoutWaiting(flags, func(flags int) (int, syscall.Errno) {
		fd, err := unix.Openat(ownDescriptors(), itoa(seen), flags, 0)
		return fd, errnoOrZero(err)
	})
}

// openFile opens for real what a file grant names, without a look at it before,
// and -1 where that is no file. An administrator has named it: whoever can put a
// FIFO or a device there can open it himself. What lies in a granted directory
// nobody has named.
func (l lookup) openFile(root int, name string, flags int) int {
	if l.held == nil || flags&(unix.O_CREAT|unix.O_EXCL|unix.O_PATH|unix.O_DIRECTORY) != 0 {
		return -1
	}
	fd, errno := l.withoutWaiting(flags|unix.O_NOCTTY, func(flags int) (int, syscall.Errno) {
		return l.open(root, name, flags, 0)
	})
	if errno != 0 {
		return -1
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1
	}
	return fd
}

// withoutWaiting opens something so that it cannot hold the loop up: a lease on
// the file (fcntl(2)), whose holder may be a worker, or a FIFO would. EAGAIN says
// that it would have to wait.
func (l lookup) withoutWaiting(flags int, open func(flags int) (int, syscall.Errno)) (int, syscall.Errno) {
	if l.held == nil && !l.hasty || flags&unix.O_NONBLOCK != 0 {
		return open(flags)
	}
	fd, errno := open(flags | unix.O_NONBLOCK)
	if errno != 0 {
		return -1, errno
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags); err != nil {
		unix.Close(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

// ownDescriptors is a descriptor of /proc/self/fd: a lookup there takes one step.
var ownDescriptors = sync.OnceValue(func() int {
	fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
})

// find opens a place with O_PATH, and returns what the kernel says it is.
func (l lookup) find(at *spot, flags int) (fd int, st unix.Stat_t, errno syscall.Errno) {
	root, name, errno := l.root(at.grant, at.path)
	if errno != 0 {
		return -1, st, errno
	}
	defer l.leave(root)
	if fd, errno = l.open(root, name, unix.O_PATH|flags, 0); errno != 0 {
		return -1, st, errno
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, errnoOf(err)
	}
	return fd, st, 0
}

// parent opens the directory that a place's last name stands in, for calls
// that change the name and not what it leads to. Those may wait: never on the
// loop.
func (l lookup) parent(at *spot) (fd int, last string, errno syscall.Errno) {
	clean := strings.TrimRight(at.path, "/")
	directory, last := path.Split(clean)
	switch {
	case at.grant.Kind != plan.GrantDirectory:
		return -1, "", unix.EACCES // the right to a file is none to its name
	case last == "":
		return -1, "", unix.EBUSY // the granted directory itself
	case last == "..":
		return -1, "", unix.ENOTEMPTY
	}
	root, _, errno := l.root(at.grant, at.path)
	if errno != 0 {
		return -1, "", errno
	}
	if directory == "" {
		return root, last, 0
	}
	defer l.leave(root)
	fd, errno = l.open(root, directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	return fd, last, errno
}
