package supervisor

import (
	"errors"
	"time"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// RunSuccessor is the whole process that comes when a supervisor was lost, and
// with it every component of its application: it writes what they had written
// and the supervisor had not read, and ends. What the lost one had read is gone
// with its memory, but for what it left in the pipes until it was written.
func RunSuccessor() int { return process(succeed) }

func succeed() (int, error) {
	s, l, err := inherit()
	if err != nil {
		return statusBroken, err
	}
	s.speak(l)
	defer l.close()
	return s.writeLast()
}

// streams are the pipes of a component: standard output and standard error.
const streams = 2

// writeLast takes the place of loop.
func (s *Supervisor) writeLast() (int, error) {
	defer close(s.over)
	s.status = statusBroken
	for i, l := range s.logs {
		s.call(wire.OpenLog, func(r reply) {
			if r.status != 0 { // else its descriptor came before
				l.opened <- opened{err: errors.New(r.reason)}
			}
		}, uint32(i), 0)
	}
	missing := 0 // pipes that were not told yet
	for _, c := range s.components {
		if !c.self && c.plan.Output == plan.OutputLog {
			missing += streams
		}
	}
	for !s.finished {
		switch e := (<-s.events).(type) {
		case monitorGone:
			return statusBroken, e.err
		case outputPipe:
			s.takePipe(e)
			if missing--; missing == 0 {
				go func() {
					s.output.ended(settleLimit)
					s.output.settle(settleLimit)
					s.post(settled{})
				}()
			}
		case settled:
			s.finish()
		case reply, logOpened, rotateLog, finishUnheard:
			s.handle(e)
		}
	}
	return s.status, nil
}

// ended returns when all pipes have come to their end, or after the time.
func (o *output) ended(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		for _, from := range o.all() {
			to, _ := o.now(from)
			to.users.Wait()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
