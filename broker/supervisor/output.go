package supervisor

import (
	"bytes"
	"io"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

// The bounds of what passes through.
const (
	chunkBytes  = 16 << 10 // read from one pipe in one turn
	pageBytes   = 32 << 10 // written at once, about
	lineBytes   = 8 << 10  // a longer line goes on in the next
	drainChunks = 64       // read at most from a pipe at once when its worker has ended
)

// output brings the lines of each component to its sink, in turns.
//
// One goroutine waits until there is something to read in any pipe (type
// poller), and lets that pipe ask its sink for a turn: in it one chunk is read,
// its lines are written and then taken out of the pipe. Turns are taken in the order
// of asking, so a component that writes without end gets one chunk
// and then stands behind everybody else; its pipe fills, and it is slowed by
// its own write(2). Nothing is kept here but one chunk and the beginnings of
// lines. The life cycle never waits for any of this.
type output struct {
	lines *sink     // the launcher's output: lines of components, standard error included
	notes io.Writer // the broker's own
	// terminal is set when lines is one: then names have colour (unless
	// plain) and control characters of components are made visible, because
	// an escape sequence is a way through the wall to whoever reads it.
	terminal bool
	colour   bool

	feeds  feeds
	hand   hand
	poller poller

	mu      sync.Mutex
	width   int // of the longest name
	sources []*source
	seen    int // sources that there ever were
	waiting int // notes that wait for their turn
	dropped int // notes that found no room
}

// source is a component as far as its output goes.
type source struct {
	name   string
	number int // counts them, for the colour
	ring   ring
	// tidying says whether tidy is under way.
	tidying atomic.Bool

	// Guarded by output.mu: a reload of the policy may change them.
	sink    *sink
	streams []*stream
}

// stream is one pipe of a component. But for what follow sets, its fields belong
// to whoever has a turn of its sink.
type stream struct {
	watched
	source  *source
	sink    *sink
	number  int
	partial []byte
	closed  bool
	// Of a line that is cut into several entries of journald.
	cut   bool
	level byte
}

func newOutput(lines, notes io.Writer, names []string) *output {
	o := &output{
		lines: &sink{to: lines},
		notes: notes,
	}
	for _, name := range names {
		o.add(name)
	}
	return o
}

// add makes a source, whose lines go to the launcher's output.
func (o *output) add(name string) *source {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &source{name: name, number: o.seen, sink: o.lines}
	o.seen++
	o.sources = append(o.sources, s)
	o.width = max(o.width, len(name))
	return s
}

// all are the sources of this moment.
func (o *output) all() []*source {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sources)
}

// now is where the lines of a source go, and what they come from.
func (o *output) now(s *source) (*sink, []*stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return s.sink, s.streams
}

// toLog sends the lines of some components to a log file.
func (o *output) toLog(log *log, sources ...*source) {
	if log.sink == nil {
		log.sink = &sink{to: log, log: log}
	}
	log.sink.named.Store(len(sources) > 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range sources {
		s.sink = log.sink
	}
}

// toLines sends the lines of a component to the launcher's output.
func (o *output) toLines(s *source) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.sink = o.lines
}

// remove forgets a source. What its pipes still hold is written.
func (o *output) remove(gone *source) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sources = slices.DeleteFunc(o.sources, func(s *source) bool { return s == gone })
	o.width = 0
	for _, s := range o.sources {
		o.width = max(o.width, len(s.name))
	}
}

// follow starts to read a pipe, which output owns from then on.
func (o *output) follow(from *source, number, fd int) error {
	s := &stream{source: from, number: number}
	s.watched = watched{fd: fd, ready: func() { o.due(s) }}
	o.mu.Lock()
	s.sink = from.sink
	s.sink.users.Add(1)
	from.streams = append(from.streams, s)
	o.mu.Unlock()
	err := o.hand.open()
	if err == nil {
		err = o.poller.add(&s.watched)
	}
	if err != nil {
		unix.Close(fd)
		o.leave(s)
	}
	return err
}

// due lets a pipe in which there is something have its turn.
func (o *output) due(s *stream) { s.sink.ask(func() { o.turn(s) }) }

// turn is that of one pipe: a chunk, and its place is behind everybody else.
func (o *output) turn(s *stream) {
	more := o.read(s)
	if !more {
		o.finish(s)
		s.closed = true
		o.poller.remove(&s.watched)
		unix.Close(s.fd)
	}
	s.sink.flush()
	switch {
	case !more:
		o.leave(s)
	case readable(s.fd):
		o.due(s)
	default:
		o.poller.again(&s.watched)
	}
}

// leave forgets a pipe that has ended.
func (o *output) leave(s *stream) {
	o.mu.Lock()
	s.source.streams = slices.DeleteFunc(slices.Clone(s.source.streams), func(other *stream) bool { return other == s })
	o.mu.Unlock()
	s.sink.users.Done()
}

// readable says whether there is something in a pipe, or its end.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// read takes one chunk; false means the end of the pipe. Its lines are taken out
// of the pipe when they are written: what a supervisor that is killed in between
// has left there its successor writes, again if need be.
func (o *output) read(s *stream) bool {
	chunk := s.sink.chunk
	n, err := o.hand.look(s.fd, chunk)
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	o.split(s, chunk[:n])
	s.sink.flush()
	if n == len(chunk) {
		// There is more. The line that it goes on with stays in the pipe too,
		// if none of it is written.
		if begun := n - 1 - bytes.LastIndexByte(chunk, '\n'); begun < n && begun == len(s.partial) {
			n -= begun
			s.partial = nil
		}
	}
	return o.hand.drop(s.fd, n, chunk) == nil
}

// drain takes what a component has written so far and finishes its last
// lines, in a turn of to.
func (o *output) drain(from *source, to *sink) {
	_, streams := o.now(from)
	for _, s := range streams {
		if s.sink != to {
			continue // of before a reload, or after it
		}
		for range drainChunks {
			if s.closed || !readable(s.fd) || !o.read(s) {
				break
			}
		}
		o.finish(s)
	}
	to.flush()
}

func (o *output) finish(s *stream) {
	if len(s.partial) > 0 {
		o.line(s, s.partial, false)
		s.partial = nil
	}
}

// tidy drains a component that has a log file, once it is its turn: nothing
// else has to come after its last lines, so nobody waits for a full disk.
func (o *output) tidy(from *source) {
	if from.tidying.Swap(true) {
		return
	}
	to, _ := o.now(from)
	to.ask(func() {
		from.tidying.Store(false)
		o.drain(from, to)
	})
}

// last returns at most n of the newest lines of one component, or of all in
// the order of their times.
func (o *output) last(n int, only *component) []control.Line {
	if only != nil {
		return only.output.last(n)
	}
	var all []control.Line
	for _, s := range o.all() {
		all = append(all, s.last(n)...)
	}
	sort.SliceStable(all, func(i, k int) bool { return all[i].Time.Before(all[k].Time) })
	return all[max(0, len(all)-n):]
}

func (s *source) last(n int) []control.Line { return s.ring.last(n, s.name) }
