package supervisor

import (
	"io"
	"os"
	"sort"
	"sync"
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

// output brings the lines of all components to one place, in turns.
//
// Each pipe has a goroutine that waits until there is something to read,
// then waits for its turn, reads one chunk, writes its lines and passes the
// turn on. Turns are given in the order of asking (a channel's senders are
// first in, first out), so a component that writes without end gets one chunk
// and then stands behind everybody else; its pipe fills, and it is slowed by
// its own write(2). Nothing is kept here but one chunk and the beginnings of
// lines. The life cycle never waits for any of this.
type output struct {
	turn  chan struct{}
	lines io.Writer // components' lines, standard error included
	notes io.Writer // the broker's own
	// terminal is set when lines is one: then names have colour (unless
	// plain) and control characters of components are made visible, because
	// an escape sequence is a way through the wall to whoever reads it.
	terminal bool
	colour   bool
	width    int

	names []string
	rings []ring
	feeds feeds

	// What belongs to whoever has the turn, like the streams' own fields.
	chunk []byte
	page  []byte

	queue chan note

	mu      sync.Mutex
	streams [][]*stream // by component
	dropped int         // notes that found no room
}

// stream is one pipe of a component.
type stream struct {
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
		turn:    make(chan struct{}, 1),
		lines:   lines,
		notes:   notes,
		names:   names,
		rings:   make([]ring, len(names)),
		streams: make([][]*stream, len(names)),
		chunk:   make([]byte, chunkBytes),
		queue:   make(chan note, notesWaiting),
	}
	for _, name := range names {
		o.width = max(o.width, len(name))
	}
	return o
}

// follow starts to read a pipe, which output owns from then on.
func (o *output) follow(component, number, fd int) error {
	s := &stream{component: component, number: number, fd: fd}
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
		o.turn <- struct{}{}
		more := err == nil && o.read(s)
		if !more && !s.closed {
			o.finish(s)
			s.closed = true
			s.file.Close()
		}
		o.flush()
		<-o.turn
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
	n, err := unix.Read(s.fd, o.chunk)
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	o.split(s, o.chunk[:n])
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
			o.flush()
		}
		o.finish(s)
	}
	o.flush()
}

func (o *output) finish(s *stream) {
	if len(s.partial) > 0 {
		o.line(s, s.partial, false)
		s.partial = nil
	}
}

// flush writes the page. The lines' reader may be gone; then they are kept
// in the rings only, and the components run on.
func (o *output) flush() {
	if len(o.page) > 0 {
		o.lines.Write(o.page)
		o.page = o.page[:0]
	}
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
