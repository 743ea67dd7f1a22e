package supervisor

import (
	"bytes"
	"io"
	"os"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"

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
// Each pipe has a goroutine that waits until there is something to read,
// then waits for its turn, reads one chunk, writes its lines, takes them out of
// the pipe and passes the turn on. Turns are given in the order of asking (a channel's senders are
// first in, first out), so a component that writes without end gets one chunk
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

	feeds feeds
	hand  hand

	queue chan note

	mu      sync.Mutex
	width   int // of the longest name
	sources []*source
	seen    int // sources that there ever were
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

// sink is a place that lines go to. One that is stuck, because nobody reads
// there or the disk is full, holds up nobody who writes to another.
type sink struct {
	turn chan struct{}
	to   io.Writer
	log  *log // that to is, or nil
	// named says whether the lines of a log need their component's name.
	named atomic.Bool
	// users are the pipes whose lines go there.
	users sync.WaitGroup

	// What belongs to whoever has the turn, like the streams' own fields.
	chunk []byte
	page  []byte
}

func newSink(to io.Writer) *sink {
	return &sink{turn: make(chan struct{}, 1), to: to, chunk: make([]byte, chunkBytes)}
}

// stream is one pipe of a component.
type stream struct {
	source  *source
	sink    *sink
	number  int
	fd      int
	file    *os.File
	raw     syscall.RawConn
	partial []byte
	closed  bool
	// Of a line that is cut into several entries of journald.
	cut   bool
	level byte
}

func newOutput(lines, notes io.Writer, names []string) *output {
	o := &output{
		lines: newSink(lines),
		notes: notes,
		queue: make(chan note, notesWaiting),
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
		log.sink = newSink(log)
		log.sink.log = log
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
	s := &stream{source: from, number: number, fd: fd}
	err := o.hand.open()
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	s.file = os.NewFile(uintptr(fd), "output")
	raw, err := s.file.SyscallConn()
	if err != nil {
		s.file.Close()
		return err
	}
	s.raw = raw
	o.mu.Lock()
	s.sink = from.sink
	s.sink.users.Add(1)
	from.streams = append(from.streams, s)
	o.mu.Unlock()
	go o.pump(s)
	return nil
}

func (o *output) pump(s *stream) {
	for {
		err := s.raw.Read(readable)
		s.sink.turn <- struct{}{}
		more := err == nil && o.read(s)
		if !more && !s.closed {
			o.finish(s)
			s.closed = true
			s.file.Close()
		}
		s.sink.flush()
		<-s.sink.turn
		if !more {
			o.leave(s)
			return
		}
	}
}

// leave forgets a pipe that has ended.
func (o *output) leave(s *stream) {
	s.sink.users.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	s.source.streams = slices.DeleteFunc(slices.Clone(s.source.streams), func(other *stream) bool { return other == s })
}

// readable lets RawConn.Read wait without reading, so that a pipe that waits
// for its turn needs no buffer.
func readable(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// read takes one chunk; false means the end of the pipe. Its lines are taken out
// of the pipe when they are written: what a supervisor that is killed in between
// has left there its successor writes, again if need be.
func (o *output) read(s *stream) bool {
	if s.closed {
		return false
	}
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
// lines. Whoever calls it has the turn of to.
func (o *output) drain(from *source, to *sink) {
	_, streams := o.now(from)
	for _, s := range streams {
		if s.sink != to {
			continue // of before a reload, or after it
		}
		for range drainChunks {
			if s.closed || !readable(uintptr(s.fd)) || !o.read(s) {
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

// flush writes the page. The lines' reader may be gone; then they are kept
// in the rings only, and the components run on.
func (s *sink) flush() {
	if len(s.page) > 0 {
		s.to.Write(s.page)
		s.page = s.page[:0]
	}
}

// tidy drains a component that has a log file, once it is its turn: nothing
// else has to come after its last lines, so nobody waits for a full disk.
func (o *output) tidy(from *source) {
	if from.tidying.Swap(true) {
		return
	}
	to, _ := o.now(from)
	go func() {
		to.turn <- struct{}{}
		from.tidying.Store(false)
		o.drain(from, to)
		<-to.turn
	}()
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
