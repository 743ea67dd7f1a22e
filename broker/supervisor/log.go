package supervisor

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
)

// makeLogs makes the log files of the plan, those that go on with what the plan
// says of them now, and connects them with their components.
func (s *Supervisor) makeLogs() {
	old := s.logs
	s.logs = nil
	for i := range s.plan.Logs {
		p := &s.plan.Logs[i]
		k := slices.IndexFunc(old, func(l *logFile) bool { return l.path == p.Path })
		if k >= 0 {
			old[k].plan.Store(p)
			s.logs = append(s.logs, old[k])
			continue
		}
		var l *logFile
		ask := func() { s.post(rotateLog{l}) }
		say := func(text string) { s.output.say(text, nil) }
		l = newLogFile(p, ask, say, s.over)
		s.logs = append(s.logs, l)
	}
	for _, l := range s.logs {
		var from []*source
		for _, c := range s.components {
			if c.plan.Log == l.path {
				from = append(from, c.output)
			}
		}
		s.output.toLog(l, from...)
	}
	for _, l := range old {
		if !slices.Contains(s.logs, l) {
			go l.retire()
		}
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
type rotateLog struct{ log *logFile }

func (s *Supervisor) rotateLog(e rotateLog) {
	index := slices.Index(s.logs, e.log)
	if index < 0 {
		e.log.opened <- opened{err: errNoLog}
		return
	}
	s.call(wire.OpenLog, func(r reply) {
		if r.status != 0 { // else its descriptor came before
			e.log.opened <- opened{err: errors.New(r.reason)}
		}
	}, uint32(index), 1)
}

// errNoLog is for the last lines of a component whose log file is not in the
// plan any more: the file that it has goes on.
var errNoLog = errors.New("its policy names it no more")

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
