package supervisor

import (
	"io"
	"os"
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
// then waits for its turn, reads one chunk, writes its lines and passes the
// turn on. Turns are given in the order of asking (a channel's senders are
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
	width    int

	names []string
	sinks []*sink // by component
	rings []ring
	feeds feeds

	queue chan note

	mu      sync.Mutex
	streams [][]*stream // by component
	dropped int         // notes that found no room
}

// sink is a place that lines go to. One that is stuck, because nobody reads
// there or the disk is full, holds up nobody who writes to another.
type sink struct {
	turn chan struct{}
	to   io.Writer
	log  *logFile // that to is, or nil
	// named says whether the lines of a log need their component's name.
	named bool
	// tidying says of each component whether tidy is under way.
	tidying map[int]*atomic.Bool

	// What belongs to whoever has the turn, like the streams' own fields.
	chunk []byte
	page  []byte
}

func newSink(to io.Writer) *sink {
	return &sink{turn: make(chan struct{}, 1), to: to, chunk: make([]byte, chunkBytes)}
}

// stream is one pipe of a component.
type stream struct {
	sink      *sink
	component int
	number    int
	fd        int
	file      *os.File
	raw       syscall.RawConn
	partial   []byte
	closed    bool
}

func newOutput(lines, notes io.Writer, names []string) *output {
	o := &output{
		lines:   newSink(lines),
		notes:   notes,
		names:   names,
		rings:   make([]ring, len(names)),
		streams: make([][]*stream, len(names)),
		queue:   make(chan note, notesWaiting),
	}
	for _, name := range names {
		o.width = max(o.width, len(name))
		o.sinks = append(o.sinks, o.lines)
	}
	return o
}

// toLog sends the lines of some components to a log file.
func (o *output) toLog(log *logFile, components ...int) {
	s := newSink(log)
	s.log, s.named = log, len(components) > 1
	s.tidying = make(map[int]*atomic.Bool)
	for _, component := range components {
		o.sinks[component] = s
		s.tidying[component] = new(atomic.Bool)
	}
}

// follow starts to read a pipe, which output owns from then on.
func (o *output) follow(component, number, fd int) error {
	s := &stream{sink: o.sinks[component], component: component, number: number, fd: fd}
	if err := unix.SetNonblock(fd, true); err != nil {
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
	o.streams[component] = append(o.streams[component], s)
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
			return
		}
	}
}

// readable lets RawConn.Read wait without reading, so that a pipe that waits
// for its turn needs no buffer.
func readable(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// read takes one chunk; false means the end of the pipe.
func (o *output) read(s *stream) bool {
	if s.closed {
		return false
	}
	n, err := unix.Read(s.fd, s.sink.chunk)
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	o.split(s, s.sink.chunk[:n])
	return true
}

// drain takes what a component has written so far and finishes its last
// lines.
func (o *output) drain(component int) {
	o.mu.Lock()
	streams := o.streams[component]
	o.mu.Unlock()
	for _, s := range streams {
		for range drainChunks {
			if s.closed || !readable(uintptr(s.fd)) || !o.read(s) {
				break
			}
			s.sink.flush()
		}
		o.finish(s)
	}
	o.sinks[component].flush()
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
func (o *output) tidy(component int) {
	s := o.sinks[component]
	if s.tidying[component].Swap(true) {
		return
	}
	go func() {
		s.turn <- struct{}{}
		s.tidying[component].Store(false)
		o.drain(component)
		<-s.turn
	}()
}

// last returns at most n of the newest lines of one component, or of all in
// the order of their times.
func (o *output) last(n int, only *component) []control.Line {
	if only != nil {
		return o.rings[only.index].last(n, o.names[only.index])
	}
	var all []control.Line
	for i := range o.rings {
		all = append(all, o.rings[i].last(n, o.names[i])...)
	}
	sort.SliceStable(all, func(i, k int) bool { return all[i].Time.Before(all[k].Time) })
	return all[max(0, len(all)-n):]
}
