package supervisor

import (
	"bytes"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// How long a log file that cannot be written or rotated is left alone.
const (
	fullFirst   = 20 * time.Millisecond // doubles
	fullLast    = time.Second
	rotateAgain = time.Minute
)

// logFile is a file of the plan that lines go to. Whoever has the turn of its
// sink writes. The supervisor has no file system: the monitor opens the file,
// and renames it when it has become too large or too old.
type logFile struct {
	path   string
	plan   atomic.Pointer[plan.Log]
	ask    func()            // for a new file in its place, answered on opened
	opened chan opened       // with room for the one answer
	sink   *sink             // that writes to it
	say    func(text string) // about itself
	over   <-chan struct{}

	file    file
	open    bool
	size    int64
	since   time.Time // when its first line was written
	failing time.Time // when a rotation failed

	// For the status.
	full    atomic.Int64 // since when it cannot be written, nanoseconds since 1970, or 0
	dropped atomic.Uint64
}

// opened is what became of an OpenLog.
type opened struct {
	fd  int
	err error
}

func newLogFile(p *plan.Log, ask func(), say func(string), over <-chan struct{}) *logFile {
	l := &logFile{path: p.Path, ask: ask, opened: make(chan opened, 1), over: over}
	l.plan.Store(p)
	l.say = func(text string) { say(fmt.Sprintf("sandbox: log %s: %s", l.path, text)) }
	return l
}

// Write writes whole lines, all of them or, where the policy drops them, none.
func (l *logFile) Write(b []byte) (int, error) {
	if !l.open && !l.take() {
		return 0, unix.EBADF
	}
	if l.due(len(b)) {
		l.ask()
		l.take()
	}
	wait, before := fullFirst, l.size
	for written := 0; written < len(b); {
		n, err := unix.Write(int(l.file), b[written:])
		switch {
		case err == nil:
			written += n
			l.size += int64(n)
		case err == unix.EINTR:
		case l.plan.Load().Drop:
			l.blocked(err, "its lines are dropped")
			// What follows must not begin in the middle of a line.
			if unix.Ftruncate(int(l.file), before) == nil {
				l.size = before
			}
			l.dropped.Add(uint64(bytes.Count(b, []byte{'\n'})))
			return 0, err
		default:
			l.blocked(err, "its components wait")
			select {
			case <-time.After(wait):
			case <-l.over:
				return written, err
			}
			wait = min(2*wait, fullLast)
		}
	}
	l.unblocked()
	return len(b), nil
}

// due says whether the next lines belong into a new file.
func (l *logFile) due(next int) bool {
	if l.size == 0 || time.Since(l.failing) < rotateAgain {
		return false
	}
	p := l.plan.Load()
	return l.size+int64(next) > int64(p.Rotate) || p.Age > 0 && time.Since(l.since) >= p.Age
}

// take waits for the file that the monitor opens and says whether there is
// one. Without a new one the old one goes on: a log that is too large is
// better than a lost one.
func (l *logFile) take() bool {
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
	if l.open {
		unix.Close(int(l.file))
	}
	l.file, l.open, l.size, l.since = file(o.fd), true, 0, time.Now()
	var st unix.Stat_t
	if unix.Fstat(o.fd, &st) == nil {
		l.size = st.Size
	}
	// Where the file system knows when a file was made (statx(2)), its age
	// counts on over the ends of brokers.
	var born unix.Statx_t
	if l.size > 0 && unix.Statx(o.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &born) == nil && born.Mask&unix.STATX_BTIME != 0 {
		l.since = time.Unix(born.Btime.Sec, int64(born.Btime.Nsec))
	}
	return true
}

func (l *logFile) blocked(err error, so string) {
	if l.full.CompareAndSwap(0, time.Now().UnixNano()) {
		l.say(err.Error() + "; " + so)
	}
}

func (l *logFile) unblocked() {
	since := l.full.Swap(0)
	if since == 0 {
		return
	}
	text := "is written again after " + round(time.Since(time.Unix(0, since))).String()
	if n := l.dropped.Load(); n > 0 {
		text += "; " + strconv.FormatUint(n, 10) + " lines were dropped so far"
	}
	l.say(text)
}

// retire closes the file when the last pipe whose lines go there has ended.
func (l *logFile) retire() {
	l.sink.users.Wait()
	l.sink.turn <- struct{}{}
	if l.open {
		unix.Close(int(l.file))
		l.open = false
	}
	<-l.sink.turn
}
