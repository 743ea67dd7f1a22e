package monitor

import (
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// identity is as whom a connection is made. A server behind a unix socket asks
// the kernel who connected (SO_PEERCRED, unix(7)), and the answer must be the
// component and not the monitor, which is root.
type identity struct{ uid, gid uint32 }

func identityOf(w *work) identity {
	return identity{w.component.Hosts.UID, w.component.Hosts.GID}
}

// itself is the monitor, who looks after a component's health.
func itself() identity { return identity{uint32(unix.Geteuid()), uint32(unix.Getegid())} }

// connectAs connects a socket as somebody. It may block as long as it likes,
// so it is called on a goroutine of its own.
func (m *Monitor) connectAs(as identity, fd int, address unix.Sockaddr) syscall.Errno {
	errno := connectOnce(as, fd, address)
	local, ok := address.(*unix.SockaddrUnix)
	if errno == unix.ENOENT && ok && filepath.IsAbs(local.Name) && m.renew(filepath.Dir(local.Name)) {
		errno = connectOnce(as, fd, address)
	}
	return errno
}

func connectOnce(as identity, fd int, address unix.Sockaddr) syscall.Errno {
	if _, local := address.(*unix.SockaddrUnix); local && unix.Geteuid() == 0 && as.uid != 0 {
		// Never unlocked: the thread has another user's ids from here on
		// and ends with its goroutine.
		runtime.LockOSThread()
		if errno := assume(as); errno != 0 {
			return errno
		}
	}
	for {
		err := unix.Connect(fd, address)
		if err != unix.EINTR {
			return errnoOrZero(err)
		}
	}
}

// assume gives this thread the ids of as, with the right to go through any
// directory kept: the grant says where the connection goes, and the ids only
// who made it. Raw calls, because Go's change every thread.
func assume(as identity) syscall.Errno {
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	gid, uid := uintptr(as.gid), uintptr(as.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return errno
	}
	const reach = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: reach, Permitted: reach}}
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	return errno
}

// connect makes a socket for a grant and connects it. It may block.
func (m *Monitor) connect(as identity, g *plan.Grant) (int, syscall.Errno) {
	address, family, kind, errno := sockaddr(g)
	if errno != 0 {
		return -1, errno
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err.(syscall.Errno)
	}
	if errno := m.connectAs(as, fd, address); errno != 0 {
		unix.Close(fd)
		return -1, errno
	}
	return fd, 0
}

// maximumWaiting bounds the connections of one component that are being made.
// Each has a thread, and a server that never accepts holds it: those of a
// worker that is gone count until they end. As many again are for sockets that
// do not block, whose threads are back at once.
const maximumWaiting = 16

// maximumInTurn bounds those that wait for one of these threads: there are as many
// as a component has threads of its own that stand in connect(2), and some of whoever
// was killed there.
const maximumInTurn = 1024

// elsewhere runs a call that may block, and then what follows on the loop. It
// says whether there was room for it.
func (m *Monitor) elsewhere(c *component, call func() syscall.Errno, then func(syscall.Errno)) bool {
	return m.elsewhereUpTo(maximumWaiting, c, call, then)
}

func (m *Monitor) elsewhereUpTo(most int, c *component, call func() syscall.Errno, then func(syscall.Errno)) bool {
	if c.waiting >= most {
		return false
	}
	c.waiting++
	go func() {
		errno := call()
		m.loop.post(func() {
			c.waiting--
			then(errno)
			m.nextInTurn(c)
		})
	}()
	return true
}

// inTurn runs start now if it finds room, and else when there is some. It says whether
// there is room to wait.
func (m *Monitor) inTurn(c *component, start func() bool) bool {
	if len(c.inTurn) == 0 && start() {
		return true
	}
	if len(c.inTurn) >= maximumInTurn {
		return false
	}
	c.inTurn = append(c.inTurn, start)
	return true
}

func (m *Monitor) nextInTurn(c *component) {
	for len(c.inTurn) > 0 && c.inTurn[0]() {
		c.inTurn = c.inTurn[1:]
	}
}
