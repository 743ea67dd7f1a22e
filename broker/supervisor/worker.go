package supervisor

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// worker is one running process.
type worker struct {
	id        uint32
	component *component
	pid       uint32 // on the host
	started   time.Time
	by        uint32 // the worker that asked for it, or 0
	asked     bool   // it was sent its stop signal
	killed    string // why it was sent SIGKILL, or ""
}

func (w *worker) told() control.Worker {
	return control.Worker{Worker: w.id, Component: w.component.plan.Name, PID: w.pid, Started: w.started, For: w.by}
}

// kill ends every process of the worker.
func (s *Supervisor) kill(w *worker, why string) {
	if w.killed != "" {
		return
	}
	w.killed = why
	s.monitor.request(wire.SignalWorker, w.id, uint32(unix.SIGKILL), 1)
	s.later(killPatience, killUnheard{w.id})
}

func (s *Supervisor) signal(w *worker, signal int) {
	s.monitor.request(wire.SignalWorker, w.id, uint32(signal), 0)
}

// workerTimeout is the tick of a worker that was asked to end.
type workerTimeout struct{ worker uint32 }

// sweep ends the workers that others asked for, once nobody is left who did.
// Those of connections have nobody: they are asked to end, and killed when
// they do not.
func (s *Supervisor) sweep() {
	for _, w := range s.workers {
		c := w.component
		if c.kept() || c.self || w.killed != "" {
			continue
		}
		if _, alive := s.workers[w.by]; alive {
			continue
		}
		if c.plan.Start != plan.PerConnection || c.plan.Life.StopTimeout <= 0 {
			s.kill(w, "killed: whoever asked for it has ended")
		} else if !w.asked {
			w.asked = true
			s.signal(w, int(c.plan.Life.StopSignal))
			s.later(c.plan.Life.StopTimeout, workerTimeout{w.id})
		}
	}
}

// quiet bounds how often one component's workers are written about.
type quiet struct {
	from  time.Time
	count int
}

// The bound: so many lines in so long.
const (
	quietLines = 5
	quietTime  = 10 * time.Second
)

// allow says whether to write, and how many were passed over before.
func (q *quiet) allow(now time.Time) (passed int, ok bool) {
	if now.Sub(q.from) >= quietTime {
		passed = max(0, q.count-quietLines)
		q.from, q.count = now, 0
	}
	q.count++
	return passed, q.count <= quietLines
}
