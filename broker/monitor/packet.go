package monitor

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// packets is the memory in which the loop's packets come and go. It is made
// once: a request costs none, and leaves nothing for the collector.
type packets struct {
	bytes    [wire.MaximumSize + 1]byte // one more than allowed, to see what is too large
	control  [512]byte                  // room for more than MaximumFDs, to see what is too many
	vector   unix.Iovec
	header   unix.Msghdr
	outgoing wire.Message
}

// receive reads one packet, which stays valid until the next. A packet with more
// descriptors than the format allows loses them all and is an error.
func (p *packets) receive(socket int) (packet []byte, fds []int, err error) {
	p.vector = unix.Iovec{Base: &p.bytes[0], Len: uint64(len(p.bytes))}
	p.header = unix.Msghdr{Iov: &p.vector, Iovlen: 1, Control: &p.control[0], Controllen: uint64(len(p.control))}
	// Raw: it does not wait, and the runtime need not be told of it.
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(socket), uintptr(unsafe.Pointer(&p.header)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	switch errno {
	case 0:
	case unix.EINTR, unix.ENOMEM, unix.ENOBUFS:
		return nil, nil, unix.EAGAIN // it is still there, and is nobody's fault
	case unix.ECONNRESET:
		return nil, nil, nil
	default:
		return nil, nil, errno
	}
	if fds, err = wire.Rights(p.control[:p.header.Controllen]); err != nil {
		return nil, nil, err
	}
	if p.header.Flags&unix.MSG_CTRUNC != 0 || len(fds) > wire.MaximumFDs {
		closeAll(fds)
		return nil, nil, wire.ErrFDs
	}
	if p.header.Flags&unix.MSG_TRUNC != 0 {
		closeAll(fds)
		return nil, nil, wire.ErrTooLarge
	}
	return p.bytes[:n], fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// send never waits: EAGAIN is a socket that is full.
func send(socket int, b []byte, fds []int) error { return wire.Send(socket, b, fds, unix.MSG_DONTWAIT) }

// reply answers a worker's request. A worker whose socket is full does not
// read its answers; nothing waits for it.
func (m *Monitor) reply(w *work, op wire.Op, id uint32, errno syscall.Errno, body func(*wire.Message), fds ...int) {
	m.say(w, wire.Header{Kind: wire.Reply, Op: op, ID: id, Status: uint32(errno), FDs: len(fds)}, body, fds)
}

// event tells a worker something that belongs to an earlier request of its.
func (m *Monitor) event(w *work, op wire.Op, id uint32, body func(*wire.Message)) {
	m.say(w, wire.Header{Kind: wire.Event, Op: op, ID: id}, body, nil)
}

func (m *Monitor) say(w *work, h wire.Header, body func(*wire.Message), fds []int) {
	if w.broker < 0 {
		return
	}
	message := &m.packets.outgoing
	message.Begin(h)
	if body != nil {
		body(message)
	}
	b, err := message.Bytes()
	if err == nil {
		err = send(w.broker, b, fds)
	}
	switch err {
	case nil, unix.EPIPE: // that it has ended, its socket says
	case unix.EAGAIN:
		m.kill(w, "it does not read the monitor's answers")
	default:
		// It would wait for ever for what does not come.
		m.kill(w, "the monitor cannot answer it: "+err.Error())
	}
}
