package monitor

import (
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// door is a listening socket whose every connection gets a worker of its own.
type door struct {
	component *component
	listener  int
	number    int // of the connection in the worker; 0 is 0 and 1, as inetd has it
	open      bool
	waits     bool // for a connection, elsewhere
}

// hasDoor says whether a component's workers get the connections of a socket,
// one each, and so never the socket: it would give one of them everybody's.
func (c *component) hasDoor(listener int) bool {
	return slices.ContainsFunc(c.doors, func(d *door) bool { return d.listener == listener })
}

// share notes the sockets that components have from the start.
func (m *Monitor) share() {
	for _, c := range m.components {
		for _, p := range c.passed {
			m.shared[p.FD] = true
		}
	}
}

// openDoors begins to accept for the components that start per connection.
func (m *Monitor) openDoors() error {
	for _, c := range m.components {
		if err := m.makeDoors(c); err != nil {
			return err
		}
		m.tendDoors(c)
	}
	return nil
}

func (m *Monitor) makeDoors(c *component) error {
	if c.Start != plan.PerConnection {
		return nil
	}
	for _, b := range c.Grants {
		listener, bound := m.listeners[b.Grant]
		if b.Number < 0 || !bound {
			continue
		}
		// Between the event and the accept the other side may be
		// gone: the monitor must not wait for the next one.
		if err := unix.SetNonblock(listener, true); err != nil {
			return err
		}
		c.doors = append(c.doors, &door{component: c, listener: listener, number: b.Number})
	}
	return nil
}

// tendDoors keeps the doors of a component open as long as there is room for
// one more connection. Beyond that connections wait where they always have, in
// the kernel's queue: that is back-pressure, and nobody is turned away by us.
func (m *Monitor) tendDoors(c *component) {
	room := !m.stopping && c.held == notHeld && c.control >= 0 && (c.active() < c.Workers.Maximum || len(c.queue) < c.Workers.Queue)
	for _, d := range c.doors {
		if room && !d.open && !d.waits {
			d.open = m.loop.add(d.listener, unix.EPOLLIN, func(uint32) { m.accept(d) }) == nil
		} else if !room && d.open {
			m.loop.remove(d.listener)
			d.open = false
		}
	}
}

func (m *Monitor) closeDoors() {
	m.stopping = true
	for _, c := range m.components {
		m.tendDoors(c)
	}
}

// accept takes one connection. Between the event and the accept somebody else may
// have taken it, or it may be gone: then accept(2) waits for the next one, unless
// the socket does not block. Whether it does is decided by everybody who has it, so
// for a socket that a worker ever had the wait is elsewhere.
func (m *Monitor) accept(d *door) {
	if !m.shared[d.listener] {
		fd, from, err := unix.Accept4(d.listener, unix.SOCK_CLOEXEC)
		m.accepted(d, fd, from, err)
		return
	}
	own, err := unix.FcntlInt(uintptr(d.listener), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return // out of descriptors: the next event tries again
	}
	m.loop.remove(d.listener)
	d.open, d.waits = false, true
	go func() {
		fd, from, err := unix.Accept4(own, unix.SOCK_CLOEXEC)
		unix.Close(own)
		m.loop.post(func() {
			d.waits = false
			m.accepted(d, fd, from, err)
			m.tendDoors(d.component)
		})
	}()
}

// accepted asks for a worker for a connection.
func (m *Monitor) accepted(d *door, fd int, from unix.Sockaddr, err error) {
	if err != nil {
		return // gone again, or out of descriptors: the next event tries again
	}
	r := &request{
		passed:      []worker.Passed{{FD: fd, Number: d.number}},
		environment: remote(from),
	}
	if d.number == 0 {
		if second, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			r.passed = append(r.passed, worker.Passed{FD: second, Number: 1})
		}
	}
	m.ask(d.component, r)
	m.tendDoors(d.component)
}

// remote says where a connection comes from, as systemd.socket(5) does with
// Accept=yes.
func remote(from unix.Sockaddr) []string {
	var at netip.AddrPort
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		return nil
	}
	return []string{"REMOTE_ADDR=" + at.Addr().String(), "REMOTE_PORT=" + strconv.Itoa(int(at.Port()))}
}
