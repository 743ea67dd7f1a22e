package supervisor

import (
	"io"
	"sync"
	"sync/atomic"
)

// sink is a place that lines go to. One that is stuck, because nobody reads
// there or the disk is full, holds up nobody who writes to another.
//
// Whoever writes there asks for a turn. They are taken one after the other, in
// the order of asking, by a goroutine that is there as long as somebody waits.
type sink struct {
	to  io.Writer
	log *log // that to is, or nil
	// named says whether the lines of a log need their component's name.
	named atomic.Bool
	// users are the pipes whose lines go there.
	users sync.WaitGroup

	mu     sync.Mutex
	turns  []func()
	served bool // there is a goroutine

	// Of whoever has the turn.
	*desk
}

// desk is what a sink works with while it has something to do.
type desk struct {
	chunk []byte // of a pipe
	page  []byte // of lines
}

var desks = sync.Pool{New: func() any { return &desk{chunk: make([]byte, chunkBytes)} }}

// ask waits for nothing: turn is called when those who asked before have had
// theirs.
func (s *sink) ask(turn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, turn)
	if !s.served {
		s.served = true
		go s.serve()
	}
}

func (s *sink) serve() {
	s.desk = desks.Get().(*desk)
	for turn := s.next(); turn != nil; turn = s.next() {
		turn()
	}
}

// next is whose turn it is. When it is nobody's the sink has gone to rest.
func (s *sink) next() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.turns) == 0 {
		desks.Put(s.desk)
		s.desk, s.turns, s.served = nil, nil, false
		return nil
	}
	turn := s.turns[0]
	s.turns = s.turns[1:]
	return turn
}

// flush writes the page. The lines' reader may be gone; then they are kept
// in the rings only, and the components run on.
func (s *sink) flush() {
	if len(s.page) > 0 {
		s.to.Write(s.page)
		s.page = s.page[:0]
	}
}
