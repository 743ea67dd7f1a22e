package monitor

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Options of sockets by which a worker could do more than its grants say. The
// filter lets the others through; what comes here is decided by the level and
// the name, which are values of registers, so that CONTINUE decides nothing
// that could change.

// routes are the options that lead packets past another host before they go
// where their address says: what is granted is the address, and the kernel
// would send them to the first host on the way (ip(7), RFC 3542, RFC 8754).
var routes = map[int][]int{
	unix.IPPROTO_IP:   {unix.IP_OPTIONS},
	unix.IPPROTO_IPV6: {unix.IPV6_2292RTHDR, unix.IPV6_2292PKTOPTIONS, flowLabels, unix.IPV6_RTHDR},
}

const flowLabels = 32 // IPV6_FLOWLABEL_MGR, linux/in6.h: a label may bring a route

// guardedOption is setsockopt(2) of an option that the filter does not know to
// be harmless.
func (m *Monitor) guardedOption(w *work, n *notification) {
	level, name := int(int32(n.arguments[1])), int(int32(n.arguments[2]))
	for _, route := range routes[level] {
		if name == route {
			m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EPERM, object: "special a route of its packets"})
			m.respond(w, n, unix.EPERM)
			return
		}
	}
	if level == unix.SOL_SOCKET && name == unix.SO_LINGER {
		m.guardedLinger(w, n)
		return
	}
	m.proceed(w, n)
}

// guardedLinger is SO_LINGER. A socket that lingers holds up whoever closes it
// last until the other side has taken everything, which it may never do, and
// that can be the monitor: every descriptor that a worker passes, and every
// socket that the monitor fetches, is closed by it. So a socket is closed at
// once, with what is on the way (no time, which resets the connection) or in
// the background (any other, as without the option).
func (m *Monitor) guardedLinger(w *work, n *notification) {
	var linger [8]byte // struct linger, socket(7): on, seconds
	if int32(n.arguments[4]) < int32(len(linger)) {
		m.respond(w, n, unix.EINVAL)
		return
	}
	if errno := m.readMemory(w, n, n.arguments[3], linger[:]); errno != 0 {
		m.respond(w, n, errno)
		return
	}
	mine, errno := m.fetch(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	defer unix.Close(mine)
	now := unix.Linger{}
	if binary.NativeEndian.Uint32(linger[:]) != 0 && binary.NativeEndian.Uint32(linger[4:]) == 0 {
		now.Onoff = 1
	}
	m.respond(w, n, errnoOrZero(unix.SetsockoptLinger(mine, unix.SOL_SOCKET, unix.SO_LINGER, &now)))
}
