package monitor

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// callSplit is the system call by which the stub asks for what it stands for
// (sandbox/stub/stub.c). No kernel has the number, so whoever makes the call
// is stopped by its filter and waits for the monitor. Its arguments are the
// signals that were blocked and ignored before the stub changed that, which are
// the caller's own to choose. What is executed, by whom and with what else is
// read from the kernel.
const callSplit = 16968

// mostPassed bounds the descriptors that one exec may pass; the init takes no
// more beside those of the plan.
const mostPassed = 480

// refusals are why an exec is refused, by the errno of the queue.
var refusals = map[syscall.Errno]string{
	unix.EAGAIN: "all its workers are busy, and as many wait as may (workers:)",
	unix.EIO:    "its compartment is lost",
}

// splitAsked answers a stub with a socket, and asks for a worker of the
// component that the plan puts in the place of the stub's path.
func (m *Monitor) splitAsked(w *work, n *notification) {
	path, err := unixReadlink("/proc/" + itoa(n.pid) + "/exe")
	c := m.replacing(w, path)
	if err != nil || c == nil {
		m.respond(w, n, unix.EPERM)
		m.deny(w, denial{call: n.call, errno: unix.EPERM, object: "execute " + path})
		return
	}
	caller, err := inspectCaller(n.pid)
	if !m.valid(w, n) {
		caller.close()
		return // it was killed, and what was read may be another's
	}
	caller.process.Blocked, caller.process.Ignored = n.arguments[0], n.arguments[1]
	s := &stub{caller: caller, path: path, worker: w, socket: -1}
	if errno := m.connectStub(s, n); errno != 0 {
		caller.close()
		m.respond(w, n, errno)
		return
	}
	r := &request{requester: w, stub: s}
	s.request = r
	switch {
	case err != nil:
		m.refuseStub(c, s, errnoOf(err), err.Error())
	case c.control < 0:
		m.refuseStub(c, s, unix.EIO, refusals[unix.EIO])
	default:
		m.ask(c, r)
	}
}

// refuseStub tells a stub and the supervisor that there will be no worker.
func (m *Monitor) refuseStub(c *component, s *stub, errno syscall.Errno, why string) {
	m.stubFails(s, errno, why)
	m.tell(wire.WorkerFailed, func(b *wire.Message) {
		b.U32(0).U32(uint32(c.index)).U32(uint32(errno)).String("execute " + s.path + " for " + s.worker.component.Name + ": " + why)
	})
}

// replacing is the component in whose place a worker's component has a stub
// at path.
func (m *Monitor) replacing(w *work, path string) *component {
	for _, split := range w.component.Splits {
		if split.Path != path {
			continue
		}
		for _, c := range m.components {
			if c.Name == split.Component && c.Start == plan.OnExec {
				return c
			}
		}
	}
	return nil
}

// asksForWorkers says whether a component needs a broker socket to start
// workers of others.
func (c *component) asksForWorkers(p *plan.Plan) bool {
	for _, name := range c.MayStart {
		for i := range p.Components {
			if other := &p.Components[i]; other.Name == name && other.Start == plan.PerRequest {
				return true
			}
		}
	}
	return false
}

// serveStub starts a worker for an exec. What the caller passes is read while
// the worker is made, and not on the loop: it is memory of a worker's, and
// may be of a file that takes its time.
func (m *Monitor) serveStub(c *component, r *request) {
	s := r.stub
	w, err := m.take(c)
	if err != nil {
		m.refuseStub(c, s, errnoOf(err), err.Error())
		return
	}
	w.requester, w.stub, w.launched = r.requester, s, true
	s.started, s.request = w, nil
	go func() {
		given, err := s.caller.read(c.Pass.Directories)
		m.loop.post(func() {
			defer given.close()
			if m.workers[w.id] != w || w.state != preparing {
				return // whoever ended it has told
			}
			if err == nil {
				err = m.launchStub(w, given)
			}
			if err != nil {
				m.fail(w, errnoOf(err), stepOf(err))
				m.kill(w, err.Error())
			}
		})
	}()
	m.fillAhead(c)
}

// launchStub gives a worker what passes of what its caller had.
func (m *Monitor) launchStub(w *work, given *given) error {
	c, s := w.component, w.stub
	process := s.caller.process
	if err := fill(&process, c.Component, s.path, given); err != nil {
		return err
	}
	s.directory = given.directory
	var passed []worker.Passed
	for _, d := range given.descriptors {
		switch {
		case m.brokers[d.inode] && d.kind == plan.PassSockets:
			continue // the caller's own way to the monitor; it is nobody's else
		case !d.named && c.Pass.Descriptors&d.kind == 0:
			m.deny(s.worker, denial{call: callSplit, errno: unix.EPERM, object: notPassed(&d, c)})
		default:
			passed = append(passed, worker.Passed{FD: d.fd, Number: d.number})
		}
	}
	for number := range 3 {
		if !hasNumber(passed, number) {
			passed = append(passed, worker.Passed{FD: m.null, Number: number})
		}
	}
	var environment []string
	if c.listens {
		environment = append(environment, "LISTEN_PID="+itoa(int(process.Pid)))
	}
	return m.launch(w, passed, environment, nil, &process)
}

// notPassed says what kind of descriptor did not pass to whom; the supervisor
// reads it, and counts together what is alike.
func notPassed(d *descriptor, c *component) string {
	text := "pass " + d.what + " to " + c.Name
	if d.path != "" {
		text += ": " + d.path
	}
	return text
}

var (
	errTooMany  = fmt.Errorf("it has more descriptors than the %d that one exec can pass: %w", mostPassed, unix.E2BIG)
	errArgument = fmt.Errorf("an argument matches none of the patterns of pass: arguments: %w", unix.EPERM)
)
