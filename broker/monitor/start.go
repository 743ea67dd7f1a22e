package monitor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// maximumNumber bounds the descriptor numbers that a request may name.
const maximumNumber = 1024

// answerStart starts a worker of another component with the descriptors that
// came with the request, if the plan says that this component may.
func (m *Monitor) answerStart(w *work, h wire.Header, b *wire.Body, fds []int) answer {
	name, count := b.Bytes(), int(b.U16())
	if count != len(fds) {
		closeAll(fds)
		return refused(errMalformed)
	}
	r := &request{requester: w, id: h.ID}
	for i := range fds {
		r.passed = append(r.passed, worker.Passed{FD: fds[i], Number: int(b.U16())})
	}
	refuse := func(errno syscall.Errno) answer {
		r.close()
		return refused(errno)
	}
	if b.End() != nil {
		return refuse(errMalformed)
	}
	c := m.startable(w, string(name))
	if c == nil {
		m.denyGrant(w, h.Op, unix.EPERM, "start "+string(name))
		return refuse(unix.EPERM)
	}
	if c.control < 0 {
		return refuse(unix.EIO) // its compartment is lost
	}
	seen := map[int]bool{}
	for _, p := range r.passed {
		if p.Number >= maximumNumber || seen[p.Number] || p.Number == c.brokerFD {
			return refuse(unix.EINVAL)
		}
		seen[p.Number] = true
		if errno := m.passable(p.FD); errno != 0 {
			m.denyGrant(w, h.Op, errno, "pass descriptor "+itoa(p.Number)+" to "+c.Name)
			return refuse(errno)
		}
	}
	m.ask(c, r)
	return later()
}

// startable is the component of a name, if w's component may start it.
func (m *Monitor) startable(w *work, name string) *component {
	for _, allowed := range w.component.MayStart {
		if allowed != name {
			continue
		}
		for _, c := range m.components {
			if c.Name == name && c.Start == plan.PerRequest {
				return c // one that starts on exec has nobody to ask for it
			}
		}
	}
	return nil
}

// passable says whether one worker may give a descriptor to another. A
// directory is a ladder into the giver's root, an O_PATH descriptor may be
// one, and a broker socket would lend the giver's rights.
func (m *Monitor) passable(fd int) syscall.Errno {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return errnoOf(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errnoOf(err)
	}
	if flags&unix.O_PATH != 0 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EPERM
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK && m.brokers[st.Ino] {
		return unix.EPERM
	}
	return 0
}

// answerCancel ends a worker that this worker started.
func (m *Monitor) answerCancel(w *work, _ wire.Header, b *wire.Body, _ []int) answer {
	id := b.U32()
	if b.End() != nil {
		return refused(errMalformed)
	}
	started := m.workers[id]
	if started == nil || started.requester != w {
		return refused(unix.ESRCH)
	}
	m.kill(started, "cancelled by "+w.component.Name)
	return done()
}
