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
	drain *source // nil: nobody
	done  chan struct{}
}

// say queues a line of the broker and never waits; what finds no room is
// counted.
func (o *output) say(text string, drain *source) {
	if drain != nil && o.toFile(drain) {
		o.tidy(drain)
		if drain = nil; text == "" {
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped > 0 {
		select {
		case o.queue <- note{text: "sandbox: " + strconv.Itoa(o.dropped) + " messages found no reader and were dropped"}:
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

// toFile says whether the lines of a source go to a log file.
func (o *output) toFile(from *source) bool {
	to, _ := o.now(from)
	return to.log != nil
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
	o.lines.turn <- struct{}{}
	defer func() { <-o.lines.turn }()
	if n.drain != nil {
		o.drain(n.drain, o.lines)
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
	o.settleLogs(limit / 2)
	for _, from := range o.all() {
		if o.toFile(from) {
			continue
		}
		select {
		case o.queue <- note{drain: from}:
		case <-end.C:
			return
		}
	}
	last := note{done: make(chan struct{})}
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

// settleLogs drains everybody who has a log file. A disk that stays full
// costs what was written last, and that is said.
func (o *output) settleLogs(limit time.Duration) {
	end := time.NewTimer(limit)
	defer end.Stop()
	var waiting []chan struct{}
	var logs []*log
	for _, from := range o.all() {
		to, _ := o.now(from)
		if to.log == nil {
			continue
		}
		done := make(chan struct{})
		waiting, logs = append(waiting, done), append(logs, to.log)
		go func() {
			to.turn <- struct{}{}
			o.drain(from, to)
			<-to.turn
			close(done)
		}()
	}
	late := make(map[*log]bool)
	for i, done := range waiting {
		if late[logs[i]] {
			continue
		}
		select {
		case <-done:
			continue // whatever the time is
		default:
		}
		select {
		case <-done:
		case <-end.C:
			end.Reset(0) // the others have had the same time
			late[logs[i]] = true
			o.say("sandbox: log "+logs[i].name+": cannot be written, and what its components wrote last is lost", nil)
		}
	}
}
