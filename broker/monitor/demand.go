package monitor

import (
	"bytes"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// commandWatch waits for the first connection that a component without a
// worker gets. It stays in the kernel's queue: nobody is accepted here, and
// the listening sockets stay open whether a worker runs or not, so none is lost.
func (m *Monitor) commandWatch(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	on := b.U32()
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil || on > 1 {
		return 0, unix.EINVAL
	}
	m.unwatch(c)
	if on == 0 {
		return 0, nil
	}
	for _, listener := range m.listenersOf(c) {
		// A copy: another component may have the same socket.
		fd, err := unix.FcntlInt(uintptr(listener), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			m.unwatch(c)
			return 0, err
		}
		c.watched = append(c.watched, fd)
		if err := m.loop.add(fd, unix.EPOLLIN, func(uint32) { m.demanded(c) }); err != nil {
			m.unwatch(c)
			return 0, err
		}
	}
	return 0, nil
}

func (m *Monitor) demanded(c *component) {
	m.unwatch(c)
	m.tell(wire.Demanded, func(b *wire.Message) { b.U32(uint32(c.index)) })
}

func (m *Monitor) unwatch(c *component) {
	for _, fd := range c.watched {
		m.loop.close(fd)
	}
	c.watched = nil
}

func (m *Monitor) listenersOf(c *component) []int {
	var all []int
	for _, b := range c.Grants {
		if listener, bound := m.listeners[b.Grant]; bound {
			all = append(all, listener)
		}
	}
	return all
}

// commandRetire asks a worker to end if it has nothing to do. Between the look
// and the signal it stands still: a connection that it took in that moment
// would be lost with a program that simply dies of the signal. One that comes
// later waits in the kernel's queue for the next worker.
func (m *Monitor) commandRetire(h wire.Header, b *wire.Body) (uint32, error) {
	id, signal := b.U32(), unix.Signal(b.U32())
	if err := b.End(); err != nil {
		return 0, err
	}
	w := m.workers[id]
	if w == nil || w == m.supervisor || w.program < 0 {
		return 0, unix.ESRCH
	}
	m.lookAside(w, func(busy bool, err error) {
		switch {
		case m.workers[id] != w:
			m.replySupervisor(h, 0, unix.ESRCH)
		case err != nil || busy || signal == 0:
			m.replySupervisor(h, 0, busyOr(busy, err))
		default:
			m.halt(w, time.Now().Add(haltPatience), func(err error) { m.retireHalted(w, h, signal, err) })
		}
	})
	return 0, errLater
}

// retireHalted looks again, now that nothing of the worker runs.
func (m *Monitor) retireHalted(w *work, h wire.Header, signal unix.Signal, err error) {
	finish := func(err error) {
		if m.workers[w.id] != w {
			m.replySupervisor(h, 0, unix.ESRCH)
			return
		}
		if err == nil {
			err = m.signalProgram(w, signal)
		}
		m.signalAll(w, unix.SIGCONT)
		m.replySupervisor(h, 0, err)
	}
	if err != nil || m.workers[w.id] != w {
		finish(err)
		return
	}
	m.lookAside(w, func(busy bool, err error) { finish(busyOr(busy, err)) })
}

// commandFreeze lets every process of a worker stand still, or go on. Stopped
// processes, unlike a frozen cgroup, can be killed in every hierarchy.
func (m *Monitor) commandFreeze(h wire.Header, b *wire.Body) (uint32, error) {
	id, on := b.U32(), b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	w := m.workers[id]
	if w == nil || w == m.supervisor || w.program < 0 {
		return 0, unix.ESRCH
	}
	if on > 1 {
		return 0, unix.EINVAL
	}
	if on == 0 {
		m.signalAll(w, unix.SIGCONT)
		return 0, nil
	}
	m.halt(w, time.Now().Add(haltPatience), func(err error) {
		if err != nil && m.workers[id] == w {
			m.signalAll(w, unix.SIGCONT)
		}
		m.replySupervisor(h, 0, err)
	})
	return 0, errLater
}

// How long a worker may take to stand still, and how often it is looked at.
const (
	haltPatience = time.Second
	haltLook     = time.Millisecond
)

// halt stops every process of a worker, and calls then when they stand still. A
// signal is only a wish until the process has its turn: one that waits in
// accept(2) and is woken by a connection before that takes the connection
// first, and stops then (the kernel looks at the queue before the signal).
func (m *Monitor) halt(w *work, deadline time.Time, then func(error)) {
	if m.workers[w.id] != w {
		then(unix.ESRCH)
		return
	}
	own, still := pidOf(w.init), true
	for _, pid := range w.leaf.Processes() {
		still = still && (pid == own || standsStill(pid))
	}
	switch {
	case still:
		then(nil)
	case time.Now().After(deadline):
		then(unix.EBUSY)
	default:
		m.signalAll(w, unix.SIGSTOP) // also those that were forked meanwhile
		m.loop.after(haltLook, func() { m.halt(w, deadline, then) })
	}
}

// standsStill says whether every thread of a process is stopped, or it has
// ended (proc(5)).
func standsStill(pid int) bool {
	tasks, err := os.ReadDir("/proc/" + itoa(pid) + "/task")
	if err != nil {
		return true
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/" + itoa(pid) + "/task/" + task.Name() + "/stat")
		// The name stands in parentheses and may hold anything.
		end := bytes.LastIndexByte(b, ')')
		if err == nil && end > 0 && end+2 < len(b) && !bytes.ContainsRune([]byte("TtZX"), rune(b[end+2])) {
			return false
		}
	}
	return true
}

func busyOr(busy bool, err error) error {
	if busy {
		return unix.EBUSY
	}
	return err
}

// lookAside says whether a worker's component has a connection. The kernel's
// tables may be long, so they are not read on the loop.
func (m *Monitor) lookAside(w *work, then func(busy bool, err error)) {
	var grants []*plan.Grant
	for _, b := range w.component.Grants {
		if _, bound := m.listeners[b.Grant]; bound {
			grants = append(grants, &m.plan.Grants[b.Grant])
		}
	}
	go func() {
		busy, err := false, error(nil)
		for _, g := range grants {
			if err == nil && !busy {
				busy, err = connected(g)
			}
		}
		m.loop.post(func() { then(busy, err) })
	}()
}

// signalAll sends a signal to every process of a worker but its own init.
func (m *Monitor) signalAll(w *work, signal unix.Signal) {
	own := pidOf(w.init)
	for _, pid := range w.leaf.Processes() {
		if pid == own {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // gone
		}
		// Read again: now that the pidfd is there, a pid that is still in
		// the worker's group is that process.
		if slices.Contains(w.leaf.Processes(), pid) {
			unix.PidfdSendSignal(pidfd, signal, nil, 0)
		}
		unix.Close(pidfd)
	}
}
