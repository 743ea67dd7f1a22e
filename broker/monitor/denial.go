package monitor

import (
	"syscall"
	"time"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// denial is one thing that a worker tried and was refused.
type denial struct {
	call      int32     // the system call, or
	request   wire.Op   // the request, when it is not zero
	arguments [6]uint64 // of the call
	errno     syscall.Errno
	object    string // what was meant, when it is more than a call
}

// silence keeps a worker that is refused again and again from drowning the
// supervisor: each component may be noisy for a while, then its denials are
// counted and the count comes with the next one that is told.
type silence struct {
	since  time.Time
	told   int
	unsaid uint32
}

const (
	silenceAfter  = 50 // denials of one component …
	silenceWithin = time.Second
)

func (m *Monitor) deny(w *work, d denial) {
	if w.component.index < 0 {
		return // it is being ended, and nobody's any more
	}
	s := &w.component.silence
	now := time.Now()
	if now.Sub(s.since) > silenceWithin {
		s.since, s.told = now, 0
	}
	s.unsaid++
	if s.told >= silenceAfter {
		return
	}
	s.told++
	times := s.unsaid
	s.unsaid = 0
	call := uint32(d.call)
	if d.request != 0 {
		call = noCall
	}
	m.tell(wire.Denied, func(b *wire.Message) {
		b.U32(w.id).U32(uint32(w.component.index)).U32(call).U32(uint32(d.errno))
		b.U64(d.arguments[0]).U64(d.arguments[1]).U64(d.arguments[2]).String(bounded(d.object)).U32(times)
	})
}

// noCall stands in a Denied event for a refusal that is not a system call's.
const noCall = ^uint32(0)

// denyGrant reports a refused request for a grant. Errors that are the file's
// and not the policy's are none.
func (m *Monitor) denyGrant(w *work, op wire.Op, errno syscall.Errno, object string) {
	switch errno {
	case syscall.EACCES, syscall.EPERM, syscall.ENOENT, syscall.EXDEV, syscall.ELOOP, syscall.EISDIR:
		m.deny(w, denial{request: op, errno: errno, object: object})
	}
}

// record tells the supervisor which descriptor was handed out, to whom and
// under which grant; as with denials, a busy worker's are counted together.
func (m *Monitor) record(w *work, g *plan.Grant, object string) {
	if w.component.index < 0 {
		return
	}
	r := &w.component.records
	if r.grant != g.Name || r.object != object || r.worker != w.id {
		m.tellRecord(w.component)
		*r = records{worker: w.id, grant: g.Name, object: object, scheduled: r.scheduled}
	}
	r.times++
	if !r.scheduled {
		r.scheduled = true
		m.loop.after(recordDelay, func() { r.scheduled = false; m.tellRecord(w.component) })
	}
}

// records are the latest descriptors of a component that were handed out for
// the same reason and are not told yet.
type records struct {
	worker    uint32
	grant     string // its name: a reload gives it another number
	object    string
	times     uint32
	scheduled bool
}

const recordDelay = 50 * time.Millisecond

func (m *Monitor) tellRecord(c *component) {
	r := &c.records
	if r.times == 0 {
		return
	}
	times := r.times
	r.times = 0
	for _, b := range c.Grants {
		if m.plan.Grants[b.Grant].Name == r.grant {
			m.tell(wire.Granted, func(body *wire.Message) {
				body.U32(r.worker).U32(uint32(c.index)).U32(uint32(b.Grant)).String(bounded(r.object)).U32(times)
			})
			return
		}
	}
}

// bounded keeps a worker's text to a length that any message has room for.
func bounded(s string) string {
	const most = 512
	return s[:min(len(s), most)]
}
