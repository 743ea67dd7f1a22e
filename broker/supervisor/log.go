package supervisor

import (
	"errors"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
)

// makeLogs connects the log files of the plan with their components.
func (s *Supervisor) makeLogs() {
	for i := range s.plan.Logs {
		ask := func() { s.post(rotateLog{uint32(i)}) }
		say := func(text string) { s.output.say(text, nil) }
		l := newLogFile(&s.plan.Logs[i], ask, say, s.over)
		s.logs = append(s.logs, l)
		var from []*source
		for _, c := range s.components {
			if c.plan.Log == l.path {
				from = append(from, c.output)
			}
		}
		s.output.toLog(l, from...)
	}
}

// openLogs opens all log files. Nothing starts before they are open, and
// nothing at all when one cannot be opened.
func (s *Supervisor) openLogs() {
	for i := range s.logs {
		s.unopened++
		s.call(wire.OpenLog, func(r reply) {
			s.unopened--
			if r.status != 0 {
				s.end(statusBroken, "cannot start: "+r.reason)
			}
		}, uint32(i), 0)
	}
}

// rotateLog is the wish of a log file, on its way into loop.
type rotateLog struct{ log uint32 }

func (s *Supervisor) rotateLog(e rotateLog) {
	s.call(wire.OpenLog, func(r reply) {
		if r.status != 0 { // else its descriptor came before
			s.logs[e.log].opened <- opened{err: errors.New(r.reason)}
		}
	}, e.log, 1)
}

func (s *Supervisor) logOpened(e logOpened) {
	if int(e.log) >= len(s.logs) {
		unix.Close(e.fd)
		return
	}
	s.logs[e.log].opened <- opened{fd: e.fd}
}

// reportLogs says how the log files are.
func (s *Supervisor) reportLogs() []control.Log {
	var all []control.Log
	for _, l := range s.logs {
		all = append(all, control.Log{File: l.path, Full: l.full.Load() != 0, Dropped: l.dropped.Load()})
	}
	return all
}
