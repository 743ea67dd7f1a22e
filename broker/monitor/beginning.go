package monitor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// connection is one that a worker has from the start.
type connection struct {
	grant   *plan.Grant
	targets []plan.Grant
	number  int
}

func (m *Monitor) connectionsAtStart(c *component) []connection {
	var wanted []connection
	for _, b := range c.Grants {
		if g := &m.plan.Grants[b.Grant]; b.Number >= 0 && g.Kind == plan.GrantConnect {
			wanted = append(wanted, connection{g, m.targets(g), b.Number})
		}
	}
	return wanted
}

// connectFirst makes the connections that a worker has from the start, and
// gives it its orders when they are there. A server that never accepts keeps
// this worker from its program and nobody else from anything. passed stays the
// caller's: what waits has copies.
func (m *Monitor) connectFirst(w *work, wanted []connection, passed []worker.Passed, order func([]worker.Passed) error) error {
	var own []worker.Passed
	release := func() {
		for _, p := range own {
			unix.Close(p.FD)
		}
	}
	for _, p := range passed {
		fd, err := unix.FcntlInt(uintptr(p.FD), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			release()
			return err
		}
		own = append(own, worker.Passed{FD: fd, Number: p.Number})
	}
	as := identityOf(w)
	var refusedBy *plan.Grant
	if !m.elsewhere(w.component, func() syscall.Errno {
		for _, c := range wanted {
			fd, errno := m.connectAny(as, c.targets)
			if errno != 0 {
				refusedBy = c.grant
				return errno
			}
			own = append(own, worker.Passed{FD: fd, Number: c.number})
		}
		return 0
	}, func(errno syscall.Errno) {
		defer release()
		if m.workers[w.id] != w || w.state != preparing {
			return // whoever ended it has told
		}
		var err error
		if errno != 0 {
			err = &grantError{refusedBy, errno}
		} else {
			err = order(own)
		}
		if err != nil {
			m.fail(w, errnoOf(err), stepOf(err))
			m.kill(w, err.Error())
		}
	}) {
		release()
		return &grantError{wanted[0].grant, unix.EAGAIN}
	}
	return nil
}
