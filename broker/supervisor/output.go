package supervisor

import (
	"io"
	"os"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

// The bounds of what passes through.
const (
	chunkBytes   = 16 << 10 // read from one pipe in one turn
	lineBytes    = 8 << 10  // a longer line goes on in the next
	drainChunks  = 64       // read at most from a pipe at once when its worker has ended
	waitingNotes = 256
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

	// Everything below belongs to whoever has the turn.
	streams [][]*stream
	chunk   []byte
	page    []byte

	queue   chan note
	mu      sync.Mutex
	dropped int
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

// note is a line of the broker. With drain, what its component wrote comes
// before it, and an unfinished last line is finished.
type note struct {
	text  string
	drain int // component, or -1
	done  chan struct{}
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
		queue:   make(chan note, waitingNotes),
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
	o.turn <- struct{}{}
	o.streams[component] = append(o.streams[component], s)
	<-o.turn
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
	for _, s := range o.streams[component] {
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

// line adds one line to the page, the ring and the followers.
func (o *output) line(s *stream, text []byte, broken bool) {
	now := time.Now()
	o.rings[s.component].add(now, s.number, text, broken)
	if o.feeds.any() {
		name := o.names[s.component]
		o.feeds.tell(name, control.Reply{Line: &control.Line{
			Time: now, Component: name, Stream: s.number, Text: string(text), Broken: broken,
		}})
	}
	o.page = o.prefix(o.page, s.component)
	if o.terminal {
		o.page = visible(o.page, text, o.colour)
	} else {
		o.page = append(o.page, text...)
	}
	o.page = append(o.page, '\n')
}

// palette are the colours of names, of those that are readable on black and
// on white.
var palette = [...]int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}

func (o *output) prefix(b []byte, component int) []byte {
	name := o.names[component]
	if o.colour {
		b = append(b, "\x1b["...)
		b = strconv.AppendInt(b, int64(palette[component%len(palette)]), 10)
		b = append(b, 'm')
	}
	b = append(b, name...)
	for range o.width - len(name) {
		b = append(b, ' ')
	}
	b = append(b, " |"...)
	if o.colour {
		b = append(b, "\x1b[0m"...)
	}
	return append(b, ' ')
}

// say queues a line of the broker and never waits; what finds no room is
// counted.
func (o *output) say(text string, drain int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped > 0 {
		select {
		case o.queue <- note{text: "sandbox: " + strconv.Itoa(o.dropped) + " messages found no reader and were dropped", drain: -1}:
			o.dropped = 0
		default:
		}
	}
	select {
	case o.queue <- note{text: text, drain: drain}:
	default:
		if text != "" {
			o.dropped++
		}
	}
}

// run writes the broker's lines until stop is closed.
func (o *output) run(stop <-chan struct{}) {
	for {
		select {
		case n := <-o.queue:
			o.write(n)
		case <-stop:
			return
		}
	}
}

func (o *output) write(n note) {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	if n.drain >= 0 {
		o.drain(n.drain)
	}
	if n.text != "" {
		o.notes.Write(append(visible(nil, []byte(n.text), false), '\n'))
	}
	if n.done != nil {
		close(n.done)
	}
}

// settle returns when everything that was written and said before is out, or
// after the time: a reader that is stuck must not keep the application from
// ending.
func (o *output) settle(limit time.Duration) {
	end := time.NewTimer(limit)
	defer end.Stop()
	for component := range o.names {
		select {
		case o.queue <- note{drain: component}:
		case <-end.C:
			return
		}
	}
	last := note{drain: -1, done: make(chan struct{})}
	select {
	case o.queue <- last:
	case <-end.C:
		return
	}
	select {
	case <-last.done:
	case <-end.C:
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
