package monitor

import (
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

func itoa(n int) string { return strconv.Itoa(n) }

// answerListen hands out a granted listening socket.
func (m *Monitor) answerListen(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	name := b.Bytes()
	if b.End() != nil {
		return refused(errMalformed)
	}
	index, g, errno := m.granted(w, name, plan.GrantListen)
	fd, bound := m.listeners[index]
	if errno == 0 && w.component.Start == plan.PerConnection {
		// It has its connection; the socket would give it everybody's.
		errno = unix.EPERM
	}
	if errno == 0 && !bound {
		errno = unix.EIO
	}
	if errno != 0 {
		m.denyGrant(w, h.Op, errno, "listen "+string(name))
		return refused(errno)
	}
	m.shared[fd] = true
	m.record(w, g, "")
	return answer{fd: fd, keep: true}
}

// reopenListeners makes sure that the sockets which a new worker gets listen:
// an earlier one may have shut them down, and the socket is the same for all.
func (m *Monitor) reopenListeners(c *component) {
	for _, b := range c.Grants {
		g := &m.plan.Grants[b.Grant]
		fd, bound := m.listeners[b.Grant]
		if !bound || g.Network != "tcp" {
			continue
		}
		if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listening == 0 {
			unix.Listen(fd, max(g.Backlog, 1)) // bound still: its port is nobody else's
		}
	}
}

// answerConnect hands out a socket that is connected to a granted address.
func (m *Monitor) answerConnect(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	name := b.Bytes()
	if b.End() != nil {
		return refused(errMalformed)
	}
	_, g, errno := m.granted(w, name, plan.GrantConnect)
	if errno != 0 {
		m.denyGrant(w, h.Op, errno, "connect "+string(name))
		return refused(errno)
	}
	as, targets, fd := identityOf(w), m.targets(g), -1
	if !m.elsewhere(w.component, func() (errno syscall.Errno) {
		fd, errno = m.connectAny(as, targets)
		return errno
	}, func(errno syscall.Errno) {
		if errno != 0 {
			m.reply(w, h.Op, h.ID, errno, nil)
			return
		}
		m.record(w, g, "")
		m.reply(w, h.Op, h.ID, 0, nil, fd)
		unix.Close(fd)
	}) {
		return refused(unix.EAGAIN)
	}
	return later()
}

// sockaddr translates a grant's address.
func sockaddr(g *plan.Grant) (address unix.Sockaddr, family, kind int, errno syscall.Errno) {
	switch g.Network {
	case "unix", "unix-datagram":
		kind = unix.SOCK_STREAM
		if g.Network == "unix-datagram" {
			kind = unix.SOCK_DGRAM
		}
		return &unix.SockaddrUnix{Name: g.Address}, unix.AF_UNIX, kind, 0
	case "tcp":
		kind = unix.SOCK_STREAM
	case "udp":
		kind = unix.SOCK_DGRAM
	default:
		return nil, 0, 0, unix.EAFNOSUPPORT
	}
	ip, err := netip.ParseAddr(g.Address)
	if err != nil {
		return nil, 0, 0, unix.EADDRNOTAVAIL
	}
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(g.Port), Addr: ip.As4()}, unix.AF_INET, kind, 0
	}
	return &unix.SockaddrInet6{Port: int(g.Port), Addr: ip.As16()}, unix.AF_INET6, kind, 0
}

// Calls that the monitor performs for programs that nobody changed. Each
// reads what it needs of the worker's memory once, makes sure that the worker
// is still the one that asked, decides on its own copy, and acts on its own
// descriptors; nothing that the worker changes meanwhile can matter.

// brokeredSocket makes the socket that a program asks for, if a grant of its
// component could use it.
func (m *Monitor) brokeredSocket(w *work, n *notification) {
	family, kind, protocol := int(int32(n.arguments[0])), int(int32(n.arguments[1])), int(int32(n.arguments[2]))
	if !m.familyGranted(w, family) {
		if family == unix.AF_UNIX && kind&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) == unix.SOCK_STREAM {
			// glibc asks nscd(8) first whenever it looks somebody up, and
			// goes on without it: that is no denial to report.
			m.respond(w, n, unix.EAFNOSUPPORT)
			return
		}
		if w.component.Loopback && (family == unix.AF_INET || family == unix.AF_INET6) {
			// Of its own network, where nobody is: a program that lists its
			// interfaces needs one. The arguments are in registers, so that
			// the kernel makes what was asked here.
			m.proceed(w, n)
			return
		}
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EAFNOSUPPORT, object: "socket"})
		m.respond(w, n, unix.EAFNOSUPPORT)
		return
	}
	// Plain TCP and UDP only: MPTCP, which Go tries first, SCTP and raw
	// sockets have ways of their own to reach other addresses.
	if protocol != 0 && protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_UDP {
		m.respond(w, n, unix.EPROTONOSUPPORT)
		return
	}
	switch kind &^ (unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK) {
	case unix.SOCK_STREAM:
	case unix.SOCK_DGRAM:
		// A datagram socket can be addressed anew with every packet, by
		// calls that nobody looks at: there is one only where a grant is
		// for datagrams.
		if !m.datagramGranted(w, family) {
			m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EACCES, object: "socket"})
			m.respond(w, n, unix.EACCES)
			return
		}
	case unix.SOCK_SEQPACKET:
		if family != unix.AF_UNIX {
			m.respond(w, n, unix.EPROTONOSUPPORT)
			return
		}
	default:
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EPERM, object: "socket"})
		m.respond(w, n, unix.EPERM)
		return
	}
	// In the monitor's network namespace: the socket belongs there from its
	// birth, so options, epoll and the data path need nobody.
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		m.respond(w, n, err.(syscall.Errno))
		return
	}
	m.inject(w, n, fd, kind&unix.SOCK_CLOEXEC != 0)
	unix.Close(fd)
}

func (m *Monitor) familyGranted(w *work, family int) bool {
	for _, g := range m.kept(w, plan.GrantListen, plan.GrantConnect) {
		switch g.Network {
		case "unix", "unix-datagram":
			if family == unix.AF_UNIX {
				return true
			}
		default:
			// Both: an IPv6 socket may be meant for a mapped IPv4
			// address, and the address is what the grant limits.
			if family == unix.AF_INET || family == unix.AF_INET6 {
				return true
			}
		}
	}
	return false
}

// brokeredBind replaces the worker's socket by the granted one, which has been
// listening since the application started, if the address is a granted one.
func (m *Monitor) brokeredBind(w *work, n *notification) {
	address, errno := m.readAddress(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	mine, errno := m.fetch(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	defer unix.Close(mine)
	if domain, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_NETLINK {
		m.respond(w, n, bindNetlink(mine, address))
		return
	}
	if address.any() {
		m.respond(w, n, 0) // "whatever address": it has none, and needs none
		return
	}
	kind := socketType(mine)
	index, ok := m.listening(w, address, kind)
	if !ok && kind == unix.SOCK_DGRAM && address.ip.IsUnspecified() && m.asks(w) {
		// A resolver's question from a port of its choice: it gets one of the
		// kernel's choice, as unpredictable, when it connects.
		m.respond(w, n, 0)
		return
	}
	listener, bound := m.listeners[index]
	if !ok || !bound || w.component.hasDoor(listener) {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EACCES, object: "listen " + address.text(kind)})
		m.respond(w, n, unix.EACCES)
		return
	}
	m.shared[listener] = true
	// Whether the number blocks, whether it survives an exec, and the options
	// stay as the program made them.
	keepOptions(mine, listener)
	flags, err := unix.FcntlInt(uintptr(mine), unix.F_GETFL, 0)
	if err == nil {
		err = unix.SetNonblock(listener, flags&unix.O_NONBLOCK != 0)
	}
	if err != nil {
		m.respond(w, n, errnoOf(err))
		return
	}
	if errno := m.replace(w, n, listener, int(int32(n.arguments[0])), closesOnExec(n)); errno != 0 {
		m.respond(w, n, errno)
		return
	}
	m.record(w, &m.plan.Grants[index], "bind")
	m.respond(w, n, 0)
}

// netlinkReserved are the groups of NETLINK_ROUTE that need CAP_NET_ADMIN:
// RTNLGRP_IPV4_MROUTE_R and RTNLGRP_IPV6_MROUTE_R (linux/rtnetlink.h). The
// monitor has it, the worker has not.
const netlinkReserved = 1<<29 | 1<<30

// bindNetlink binds a worker's own netlink socket, which stays in the worker's
// network namespace, as the worker would if the filter could tell its sockets
// apart. Only a port that the kernel is to choose is another: it begins with
// the pid of the caller, here the monitor's.
func bindNetlink(fd int, a address) syscall.Errno {
	if a.family != unix.AF_NETLINK {
		return unix.EINVAL
	}
	if a.netlinkGroups&netlinkReserved != 0 {
		return unix.EPERM
	}
	return errnoOrZero(unix.Bind(fd, a.sockaddr()))
}

func (m *Monitor) datagramGranted(w *work, family int) bool {
	for _, g := range m.kept(w, plan.GrantListen, plan.GrantConnect) {
		if g.Network == "udp" && family != unix.AF_UNIX || g.Network == "unix-datagram" && family == unix.AF_UNIX {
			return true
		}
	}
	return false
}

// brokeredListen lets a program listen on a granted socket, on which the
// kernel has been listening already. On any other the kernel would choose a
// free port of the host.
func (m *Monitor) brokeredListen(w *work, n *notification) {
	mine, errno := m.fetch(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	defer unix.Close(mine)
	if listening, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EACCES, object: "listen"})
		m.respond(w, n, unix.EACCES)
		return
	}
	if err := unix.Listen(mine, int(int32(n.arguments[1]))); err != nil {
		m.respond(w, n, errnoOf(err))
		return
	}
	m.respond(w, n, 0)
}

// brokeredConnect connects the worker's socket to a granted address.
func (m *Monitor) brokeredConnect(w *work, n *notification) {
	address, errno := m.readAddress(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	mine, errno := m.fetch(w, n)
	if errno != 0 {
		m.respond(w, n, errno)
		return
	}
	if address.path == notifyPath && w.component.notifier >= 0 {
		// The worker's own socket to the file that it sees: sd_notify(3).
		err := unix.Connect(mine, &unix.SockaddrUnix{Name: m.notifyFile(w.component)})
		unix.Close(mine)
		m.respond(w, n, errnoOrZero(err))
		return
	}
	index, ok := m.match(w, plan.GrantConnect, address, socketType(mine))
	if !ok && (address.path == "/var/run/nscd/socket" || address.path == "/run/nscd/socket") {
		// As in brokeredSocket: glibc goes on without nscd(8).
		m.respond(w, n, unix.ENOENT)
		unix.Close(mine)
		return
	}
	refuse := func() {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: unix.EACCES, object: "connect " + address.text(socketType(mine))})
		m.respond(w, n, unix.EACCES)
		unix.Close(mine)
	}
	if !ok {
		refuse()
		return
	}
	as, g := identityOf(w), &m.plan.Grants[index]
	most := maximumWaiting
	if flags, err := unix.FcntlInt(uintptr(mine), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK != 0 {
		most *= 2
	}
	start := func() bool {
		return m.elsewhereUpTo(most, w.component, func() syscall.Errno {
			return m.connectAs(as, mine, address.sockaddr())
		}, func(errno syscall.Errno) {
			unix.Close(mine)
			if errno == 0 {
				m.record(w, g, "connect")
			}
			m.respond(w, n, errno)
		})
	}
	if most > maximumWaiting && start() {
		return // past those that block
	}
	if !m.inTurn(w.component, func() bool {
		if !m.valid(w, n) {
			unix.Close(mine)
			return true // whoever waited is gone
		}
		return start()
	}) {
		unix.Close(mine)
		m.respond(w, n, unix.EAGAIN)
	}
}

// listening finds the grant for an address that is bound to. All addresses of
// a port are, for a component, the one that is granted: no other exists for
// it. Where several are, the program has to say which it means.
func (m *Monitor) listening(w *work, a address, socket int) (int, bool) {
	if index, ok := m.match(w, plan.GrantListen, a, socket); ok || !a.ip.IsUnspecified() {
		return index, ok
	}
	found, count := 0, 0
	for granted, g := range m.kept(w, plan.GrantListen) {
		if ip, err := netip.ParseAddr(g.Address); err == nil && ip.Is4() == a.ip.Is4() {
			narrow := address{family: a.family, ip: ip, port: a.port}
			if index, ok := m.match(w, plan.GrantListen, narrow, socket); ok && index == granted {
				found, count = index, count+1
			}
		}
	}
	return found, count == 1
}

// asks says whether a component is granted a connection over UDP.
func (m *Monitor) asks(w *work) bool {
	for _, g := range m.kept(w, plan.GrantConnect) {
		if g.Network == "udp" {
			return true
		}
	}
	return false
}

// match finds the grant for an address.
func (m *Monitor) match(w *work, kind plan.GrantKind, a address, socket int) (int, bool) {
	for index, g := range m.kept(w, kind) {
		switch g.Network {
		case "tcp":
			if socket == unix.SOCK_STREAM && (a.is(g.Address, g.Port) || m.meansName(g, a)) {
				return index, true
			}
		case "udp":
			if socket == unix.SOCK_DGRAM && (a.is(g.Address, g.Port) || m.meansName(g, a)) {
				return index, true
			}
		case "unix":
			if socket != unix.SOCK_DGRAM && a.family == unix.AF_UNIX && a.path == g.Address {
				return index, true
			}
		case "unix-datagram":
			if socket == unix.SOCK_DGRAM && a.family == unix.AF_UNIX && a.path == g.Address {
				return index, true
			}
		}
	}
	return 0, false
}

func socketType(fd int) int {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return 0
	}
	return kind
}
