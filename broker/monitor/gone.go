package monitor

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// ended is called when the program ended by itself or by a signal.
func (m *Monitor) ended(w *work, said worker.Message) {
	if w.private != nil && !w.ended {
		w.ended = true
		w.private(said.Status, true)
		return
	}
	how, code, reason := wire.Exited, uint32(said.Status.ExitStatus()), w.why
	if said.Status.Signaled() {
		how, code = wire.Signaled, uint32(said.Status.Signal())
		if reason == "" {
			reason = m.explain(w, said.Status.Signal(), time.Duration(said.Processor)*time.Microsecond)
		}
	} else if start := w.component.Start; code == 0 && reason == "" && said.Leaves && (start == plan.WithApplication || start == plan.OnDemand) {
		reason = wire.LeftProcesses
	}
	m.tellEnd(w, uint32(how), code, said.Processor, max(said.Peak, w.leaf.Peak()), reason)
}

// explain says in words what a fatal signal meant, after so much processor
// time.
func (m *Monitor) explain(w *work, s syscall.Signal, used time.Duration) string {
	limit := w.component.Limits.CPUTime
	switch {
	case s == unix.SIGKILL && w.leaf.OutOfMemory():
		return "memory limit of " + size(w.component.Limits.Memory) + " reached" + storeHolds(w)
	case s == unix.SIGXCPU, s == unix.SIGKILL && limit > 0 && used >= limit:
		return "cpu-time limit of " + limit.String() + " reached"
	case s == unix.SIGXFSZ:
		return "file-size limit of " + size(w.component.Limits.FileSize) + " reached"
	case s == unix.SIGSYS:
		return "killed by its system call filter"
	}
	return "killed by " + unix.SignalName(s)
}

// ownLimit is how near to its limit a worker's memory has come where that ended
// it: the kernel charges many pages at once, and huge ones.
const ownLimit = 4 << 20

// storeHolds says what the store keeps, where the kernel killed a worker for its
// memory before its own limit: the group of all workers of its component has one,
// too, and the next worker would fare no better.
func storeHolds(w *work) string {
	c := w.component
	peak, held := w.leaf.Peak(), c.inMemory()
	if held == 0 || peak == 0 || peak+ownLimit >= c.Limits.Memory {
		return ""
	}
	return fmt.Sprintf(": this worker used %dM, and the %d descriptors that its component has stored keep %dM; the program removes them (FDSTOREREMOVE=1), or sandbox down and another start does",
		peak>>20, len(c.stored), held>>20)
}

// size writes bytes as a policy would.
func size(n uint64) string {
	for _, unit := range []struct {
		shift uint
		name  string
	}{{30, "G"}, {20, "M"}, {10, "K"}} {
		if n>>unit.shift != 0 && n&(1<<unit.shift-1) == 0 {
			return strconv.FormatUint(n>>unit.shift, 10) + unit.name
		}
	}
	return strconv.FormatUint(n, 10)
}

// tellEnd tells whoever asked for the worker, and the supervisor, once.
func (m *Monitor) tellEnd(w *work, how, code uint32, processor, peak uint64, reason string) {
	if w.ended {
		return
	}
	w.ended = true
	w.state = ending
	if w.stub == nil { // else what it left behind keeps its place until it is gone
		m.release(w)
	}
	if w.private != nil {
		w.private(0, false)
		return
	}
	if w.stub != nil {
		m.stubEnds(w.stub, how, code)
	} else if w.requester != nil {
		m.event(w.requester, wire.Start, w.request, func(b *wire.Message) {
			b.U32(how).U32(code).String(reason)
		})
	}
	if w == m.supervisor {
		if how == wire.Exited {
			reason = "exited with status " + itoa(int(code))
		}
		m.supervisorEnded(": " + reason)
		return
	}
	m.endPrivate(w.component)
	m.mention(w, wire.WorkerEnded, func(b *wire.Message) {
		b.U32(w.id).U32(uint32(w.component.index)).U32(how).U32(code).U64(processor).U64(peak).String(reason)
	})
}

// release gives a worker's place free: as soon as its end is told, because
// whoever hears of it may want the next one at once.
func (m *Monitor) release(w *work) {
	if w.counted {
		w.counted = false
		w.component.workers--
	}
}

// kill ends a worker with everything in it. Its pid namespace goes with its
// own init, so no process of it can get away.
func (m *Monitor) kill(w *work, why string) {
	if w.state == ending && w.why != "" {
		return
	}
	w.state = ending
	if w.why == "" {
		w.why = why
	}
	if w.init >= 0 {
		unix.PidfdSendSignal(w.init, unix.SIGKILL, nil, 0)
	}
	// Without a pidfd yet, spawned does it.
}

// gone is called when a worker's own init is dead: nothing runs any more.
func (m *Monitor) gone(w *work) {
	if m.workers[w.id] != w {
		return
	}
	// Its last words may still be unread: that it started, that it ended.
	for w.socket >= 0 && !w.ended {
		if said, err := worker.Receive(w.socket); err != nil || !m.heard(w, said) {
			break
		}
	}
	reason := w.why
	if reason == "" {
		reason = m.explain(w, unix.SIGKILL, 0)
	}
	switch {
	case w.ended:
	case w.program < 0 && !w.launched:
		w.ended = true // prepared in advance, and nobody's yet
	case w.program < 0:
		// Killed before its program ran: whoever waits for that has to
		// hear that it never will.
		m.fail(w, unix.ECANCELED, "run its program: "+reason)
	default:
		m.tellEnd(w, wire.Signaled, uint32(unix.SIGKILL), 0, w.leaf.Peak(), reason)
	}
	delete(m.workers, w.id)
	m.refill(w)
	m.stopAccepting(w)
	delete(m.brokers, w.brokerID)
	m.loop.stop(w.deadline)
	for _, fd := range []int{w.socket, w.init, w.program, w.listener, w.broker} {
		m.loop.close(fd)
	}
	w.socket, w.init, w.program, w.listener, w.broker = -1, -1, -1, -1, -1
	c := w.component
	m.release(w)
	c.ready = without(c.ready, w)
	m.returnLeaf(c, w.leaf)
	if w.asked { // else its end takes no longer beside a thousand others
		m.abandon(w)
	}
	if w == m.supervisor {
		m.supervisor = nil
		m.supervisorLost()
		return
	}
	m.serveQueue(c)
	if m.reload != nil {
		m.loop.later(m.tendReload)
	}
}

func without(all []*work, w *work) []*work {
	for i, other := range all {
		if other == w {
			return append(all[:i:i], all[i+1:]...)
		}
	}
	return all
}
