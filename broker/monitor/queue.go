package monitor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/sandbox/worker"
)

// request is a wish for a worker, of another worker or of a connection that
// came in, with descriptors. They belong to the request until it is served or
// refused.
type request struct {
	requester   *work // nil for a connection
	id          uint32
	passed      []worker.Passed
	environment []string
	command     []string // instead of the component's own, nil: its own
	stub        *stub    // for an exec: what stands for the worker in its caller
}

func (r *request) close() {
	for _, p := range r.passed {
		unix.Close(p.FD)
	}
	r.passed = nil
}

// active is how many workers of a component run or are about to; those that
// wait prepared do not count.
func (c *component) active() int { return c.workers - len(c.ready) }

// ask serves a request now, later, or refuses it: up to Maximum workers run,
// up to Queue requests wait, and one more is told to try again.
func (m *Monitor) ask(c *component, r *request) {
	if r.requester != nil {
		r.requester.asked = true
	}
	switch {
	case c.held == heldOff:
		m.refuse(r, unix.EAGAIN)
	case c.held == notHeld && c.active() < c.Workers.Maximum:
		m.serve(c, r)
	case len(c.queue) < c.Workers.Queue:
		c.queue = append(c.queue, r)
		m.tellQueue(c)
	default:
		m.refuse(r, unix.EAGAIN)
	}
}

// refuse answers a request that gets no worker; a connection is closed.
func (m *Monitor) refuse(r *request, errno syscall.Errno) {
	if r.stub != nil {
		m.refuseStub(m.replacing(r.requester, r.stub.path), r.stub, errno, refusals[errno])
	} else if r.requester != nil {
		m.reply(r.requester, wire.Start, r.id, errno, nil)
	}
	r.close()
}

func (m *Monitor) serve(c *component, r *request) {
	if r.stub != nil {
		m.serveStub(c, r)
		return
	}
	// Exactly one answer: here when it fails, otherwise when the program
	// runs or fails to.
	w, err := m.run(c, r)
	if err != nil {
		m.refuse(r, errnoOf(err))
		m.tell(wire.WorkerFailed, func(b *wire.Message) {
			b.U32(0).U32(uint32(c.index)).U32(uint32(errnoOf(err))).String(stepOf(err))
		})
	}
	r.close()
	if w == nil || !w.pooled { // else when it runs
		m.fillAhead(c)
	}
}

// serveQueue is called when a worker of c is gone.
func (m *Monitor) serveQueue(c *component) {
	served := false
	for len(c.queue) > 0 && c.held == notHeld && c.control >= 0 && c.active() < c.Workers.Maximum {
		r := c.queue[0]
		c.queue = c.queue[1:]
		served = true
		m.serve(c, r)
	}
	if served {
		m.tellQueue(c)
	}
	m.tendDoors(c)
}

// abandon ends what a worker that is gone has started, which works for nobody
// now, and what it has asked for.
func (m *Monitor) abandon(w *work) {
	for _, other := range m.workers {
		if other.requester == w {
			other.requester = nil
			m.kill(other, "the worker that started it ended")
		}
	}
	m.dropRequests(w)
}

// dropRequests forgets what a worker that is gone waits for.
func (m *Monitor) dropRequests(w *work) {
	for _, c := range m.components {
		kept := c.queue[:0]
		for _, r := range c.queue {
			if r.requester == w {
				r.close()
			} else {
				kept = append(kept, r)
			}
		}
		if len(kept) != len(c.queue) {
			clear(c.queue[len(kept):])
			c.queue = kept
			m.tellQueue(c)
		}
	}
}

func (m *Monitor) refuseQueued(c *component, errno syscall.Errno) {
	for _, r := range c.queue {
		m.refuse(r, errno)
	}
	c.queue = nil
}

func (m *Monitor) tellQueue(c *component) {
	m.tell(wire.Queued, func(b *wire.Message) { b.U32(uint32(c.index)).U32(uint32(len(c.queue))) })
}
