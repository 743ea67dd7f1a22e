package supervisor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// How long a log that cannot be written is left alone.
const (
	fullFirst = 20 * time.Millisecond // doubles
	fullLast  = time.Second
)

// log is a log of the plan that lines go to: a file (logfile.go) or journald
// (journald.go). It is written in the turns of its sink. The supervisor has no
// file system: the monitor opens the file, and renames it when it has become
// too large or too old; it connects to journald, and again when that was
// started anew.
type log struct {
	name   string
	plan   atomic.Pointer[plan.Log]
	ask    func()            // for a new one in its place, answered on opened
	opened chan opened       // with room for the one answer
	sink   *sink             // that writes to it
	say    func(text string) // about itself
	over   <-chan struct{}

	open bool
	// Of a file.
	file    file
	size    int64
	since   time.Time // when its first line was written
	failing time.Time // when a rotation failed
	torn    bool      // its last line has no end
	// Of journald.
	socket *os.File
	fields []byte // the same in each entry

	// For the status.
	full    atomic.Pointer[time.Time] // since when it cannot be written, nil: it can
	dropped atomic.Uint64
}

// opened is what became of an OpenLog.
type opened struct {
	fd  int
	err error
}

func newLog(p *plan.Log, ask func(), say func(string), over <-chan struct{}) *log {
	l := &log{name: p.Name, ask: ask, opened: make(chan opened, 1), over: over}
	l.plan.Store(p)
	l.say = func(text string) { say(fmt.Sprintf("sandbox: log %s: %s", l.name, text)) }
	return l
}

// Write writes whole lines to a file, or one entry to journald.
func (l *log) Write(b []byte) (int, error) {
	if !l.open && !l.take() {
		return 0, unix.EBADF
	}
	if l.journald() {
		return l.send(b)
	}
	return l.writeFile(b)
}

// take waits for what the monitor opens and says whether there is something to
// write to. Without a new file the old one goes on: a log that is too large is
// better than a lost one.
func (l *log) take() bool {
	var o opened
	select {
	case o = <-l.opened:
	case <-l.over:
		return l.open
	}
	if o.err != nil {
		l.failing = time.Now()
		l.say(o.err.Error())
		return l.open
	}
	l.close()
	l.open = true
	if l.journald() {
		l.socket = os.NewFile(uintptr(o.fd), l.name)
		return true
	}
	l.file, l.size, l.since = file(o.fd), 0, time.Now()
	l.measure()
	return true
}

func (l *log) journald() bool { return l.plan.Load().Kind == plan.LogJournald }

func (l *log) close() {
	switch {
	case !l.open:
	case l.journald():
		l.socket.Close()
	default:
		unix.Close(int(l.file))
	}
	l.open = false
}

func (l *log) blocked(err error, so string) {
	if now := time.Now(); l.full.CompareAndSwap(nil, &now) {
		l.say(err.Error() + "; " + so)
	}
}

func (l *log) unblocked() {
	since := l.full.Swap(nil)
	if since == nil {
		return
	}
	text := "is written again after " + round(time.Since(*since)).String()
	if n := l.dropped.Load(); n > 0 {
		text += "; " + strconv.FormatUint(n, 10) + " lines were dropped so far"
	}
	l.say(text)
}

// retire closes the log when the last pipe whose lines go there has ended.
func (l *log) retire() {
	l.sink.users.Wait()
	l.sink.ask(l.close)
}

// makeLogs makes the logs of the plan, those that go on with what the plan
// says of them now, and connects them with their components.
func (s *Supervisor) makeLogs() {
	old := s.logs
	s.logs = nil
	for i := range s.plan.Logs {
		p := &s.plan.Logs[i]
		k := slices.IndexFunc(old, func(l *log) bool { return l.name == p.Name })
		if k >= 0 {
			old[k].plan.Store(p)
			s.logs = append(s.logs, old[k])
			continue
		}
		var l *log
		ask := func() { s.post(rotateLog{l}) }
		say := func(text string) { s.output.say(text, nil) }
		l = newLog(p, ask, say, s.over)
		if l.journald() {
			l.fields = journaldFields(s.plan.Application, strings.TrimPrefix(p.Name, "journald:"))
		}
		s.logs = append(s.logs, l)
	}
	for _, l := range s.logs {
		var from []*source
		for _, c := range s.components {
			if c.plan.Log == l.name {
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

// openLogs opens all logs. Nothing starts before they are open, and
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

// rotateLog is the wish of a log, on its way into loop.
type rotateLog struct{ log *log }

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

// errNoLog is for the last lines of a component whose log is not in the plan
// any more: what it has goes on.
var errNoLog = errors.New("its policy names it no more")

func (s *Supervisor) logOpened(e logOpened) {
	if int(e.log) >= len(s.logs) {
		unix.Close(e.fd)
		return
	}
	s.logs[e.log].opened <- opened{fd: e.fd}
}

// reportLogs says how the logs are.
func (s *Supervisor) reportLogs() []control.Log {
	var all []control.Log
	for _, l := range s.logs {
		all = append(all, control.Log{Name: l.name, Full: l.full.Load() != nil, Dropped: l.dropped.Load()})
	}
	return all
}
