package monitor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// answerAccept hands out a connection that somebody makes to a granted socket:
// the worker gets the connection and never the socket. It waits for one on a
// goroutine, because others may take what was there, and because who has the
// socket decides whether accept(2) blocks on it.
func (m *Monitor) answerAccept(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	name := b.Bytes()
	if b.End() != nil {
		return refused(errMalformed)
	}
	index, g, errno := m.granted(w, name, plan.GrantListen)
	listener, bound := m.listeners[index]
	switch {
	case errno != 0:
	case g.Network == "udp" || g.Network == "unix-datagram":
		errno = unix.EINVAL // there are no connections
	case w.component.Start == plan.PerConnection:
		errno = unix.EPERM // it has its connection
	case !bound:
		errno = unix.EIO
	}
	if errno != 0 {
		m.denyGrant(w, h.Op, errno, "accept "+string(name))
		return refused(errno)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return refused(errnoOf(err))
	}
	fd := -1
	if !m.elsewhere(w.component, func() (errno syscall.Errno) {
		fd, errno = acceptUnless(stop, listener)
		return errno
	}, func(errno syscall.Errno) {
		delete(w.accepts, stop)
		unix.Close(stop)
		if errno != 0 {
			m.reply(w, h.Op, h.ID, errno, nil)
			return
		}
		if w.broker >= 0 {
			m.record(w, g, "accept")
			m.reply(w, h.Op, h.ID, 0, nil, fd)
		}
		unix.Close(fd)
	}) {
		unix.Close(stop)
		return refused(unix.EAGAIN)
	}
	if w.accepts == nil {
		w.accepts = map[int]bool{}
	}
	w.accepts[stop] = true
	return later()
}

// stopAccepting ends the waits of a worker that is gone: what comes from now on
// is for others.
func (m *Monitor) stopAccepting(w *work) {
	one := [8]byte{1}
	for stop := range w.accepts {
		unix.Write(stop, one[:])
	}
}

// acceptUnless waits for a connection, or for stop.
func acceptUnless(stop, listener int) (int, syscall.Errno) {
	poll := []unix.PollFd{{Fd: int32(stop), Events: unix.POLLIN}, {Fd: int32(listener), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return -1, errnoOf(err)
		}
		if poll[0].Revents != 0 {
			return -1, unix.ECANCELED
		}
		if poll[1].Revents == 0 {
			continue
		}
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			return fd, 0
		case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED: // somebody else was faster, or it is gone
		default:
			return -1, errnoOf(err)
		}
	}
}
