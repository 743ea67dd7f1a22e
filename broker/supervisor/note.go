package supervisor

import (
	"strconv"
	"time"
)

// notesWaiting is how many notes wait for a reader that is slow.
const notesWaiting = 256

// note is a line of the broker. With drain, what its component wrote comes
// before it, and an unfinished last line is finished.
type note struct {
	text  string
	drain int // component, or -1
	done  chan struct{}
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
