package supervisor

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// awaitReady is called when the program of a component runs.
//
//	at-once          it is ready
//	notify           the monitor tells: WorkerSays Ready
//	fd               readyPipe reads the newline
//	connect, command the supervisor can do neither: the monitor tries, at each Probe
func (s *Supervisor) awaitReady(c *component) {
	switch c.plan.Life.Ready.Kind {
	case plan.ReadyAtOnce:
		s.ready(c)
	case plan.ReadyNotify, plan.ReadyFD:
		if c.early {
			s.ready(c)
		}
	case plan.ReadyConnect, plan.ReadyCommand:
		c.probe = probe{wait: probeFirst}
		s.tryProbe(c)
	}
}

// unready says what a component that is not ready has not done.
func (s *Supervisor) unready(c *component) string {
	ready := &c.plan.Life.Ready
	switch {
	case c.worker == nil:
		return "it did not even start"
	case ready.Kind == plan.ReadyNotify:
		return "it has not sent READY=1 to NOTIFY_SOCKET"
	case ready.Kind == plan.ReadyFD:
		return fmt.Sprintf("it has not written a newline to descriptor %d", ready.Number)
	case ready.Kind == plan.ReadyConnect:
		return "it accepts no connection at " + s.plan.Grants[ready.Grant].Name
	}
	return "its ready command does not end with 0"
}

// saysReady is a component's own word. It comes another way than the news
// that the component runs, and may be the faster of the two.
func (s *Supervisor) saysReady(c *component) {
	switch {
	case c.state != control.Starting:
	case c.worker == nil:
		c.early = true
	default:
		s.ready(c)
	}
}

// probe is the state of the tries of a component's readiness.
type probe struct {
	wait time.Duration // before the next
}

// The time between two tries grows from probeFirst to probeLast.
const (
	probeFirst = 10 * time.Millisecond
	probeLast  = time.Second
)

// probeAgain is the tick of the next try.
type probeAgain struct {
	component *component
	worker    *worker
}

func (s *Supervisor) tryProbe(c *component) {
	w := c.worker
	s.call(wire.Probe, func(r reply) {
		switch {
		case c.worker != w || c.state != control.Starting:
		case r.status == 0:
			s.ready(c)
		default:
			s.later(c.probe.wait, probeAgain{c, w})
			c.probe.wait = min(2*c.probe.wait, probeLast)
		}
	}, uint32(c.index))
}

// readyStream is the number of the OutputPipe of descriptor 0; that of
// descriptor n is n more.
const readyStream = 1000

// readyPipe is the pipe on which a component writes a newline when it is
// ready. All its workers have the same one, so it has a generation: what one
// worker wrote before its end does not speak for the next.
type readyPipe struct {
	watched
	component *component

	mu         sync.Mutex
	generation uint64
}

// pipeReady is the news of a newline.
type pipeReady struct {
	component  *component
	generation uint64
}

// newReadyPipe owns fd and posts the news until the pipe ends.
func (s *Supervisor) newReadyPipe(c *component, fd int) (*readyPipe, error) {
	p := &readyPipe{component: c}
	poller := &s.output.poller
	p.watched = watched{fd: fd, ready: func() { go p.follow(poller, s.post) }}
	err := unix.SetNonblock(fd, true)
	if err == nil {
		err = poller.add(&p.watched)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return p, nil
}

// renew forgets what was written so far; a new worker is about to start.
func (p *readyPipe) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation++
	var b [256]byte
	for {
		if n, err := unix.Read(p.fd, b[:]); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// follow posts the news, if there are.
func (p *readyPipe) follow(poller *poller, post func(any)) {
	newline, generation, more := p.read()
	if newline {
		post(pipeReady{p.component, generation})
	}
	if more {
		poller.again(&p.watched)
		return
	}
	poller.remove(&p.watched)
	unix.Close(p.fd)
}

func (p *readyPipe) read() (newline bool, generation uint64, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b [256]byte
	n, err := unix.Read(p.fd, b[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return false, p.generation, true
	}
	return n > 0 && bytes.IndexByte(b[:n], '\n') >= 0, p.generation, err == nil && n > 0
}
