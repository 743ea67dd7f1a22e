package wire

import "syscall"

// Send sends a packet with descriptors, or says why it cannot: EPIPE where whoever
// has the other end is gone. The kernel says ECONNRESET instead, once, of who had
// packets unread. flags are those of sendmsg(2): with MSG_DONTWAIT it is EAGAIN where
// the socket is full.
func Send(socket int, packet []byte, fds []int, flags int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	err := Retry(func() error { return syscall.Sendmsg(socket, packet, rights, nil, syscall.MSG_NOSIGNAL|flags) })
	if err == syscall.ECONNRESET {
		return syscall.EPIPE
	}
	return err
}
