package supervisor

import (
	"strconv"
	"time"
)

// notesWaiting is how many notes wait for a reader that is slow.
const notesWaiting = 256

// say queues a line of the broker and never waits; what finds no room is
// counted. With drain, what that component wrote comes before it, and an
// unfinished last line is finished.
func (o *output) say(text string, drain *source) {
	if drain != nil && o.toFile(drain) {
		o.tidy(drain)
		if drain = nil; text == "" {
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting == notesWaiting {
		if text != "" {
			o.dropped++
		}
		return
	}
	dropped := o.dropped
	o.dropped = 0
	o.waiting++
	o.lines.ask(func() {
		if dropped > 0 {
			o.note("sandbox: " + strconv.Itoa(dropped) + " messages found no reader and were dropped")
		}
		if drain != nil {
			o.drain(drain, o.lines)
		}
		if text != "" {
			o.note(text)
		}
		o.mu.Lock()
		o.waiting--
		o.mu.Unlock()
	})
}

// toFile says whether the lines of a source go to a log file.
func (o *output) toFile(from *source) bool {
	to, _ := o.now(from)
	return to.log != nil
}

func (o *output) note(text string) {
	o.notes.Write(append(visible(nil, []byte(text), false), '\n'))
}

// settle returns when everything that was written and said before is out, or
// after the time: a reader that is stuck must not keep the application from
// ending.
func (o *output) settle(limit time.Duration) {
	end := time.NewTimer(limit)
	defer end.Stop()
	o.settleLogs(limit / 2)
	for _, from := range o.all() {
		if !o.toFile(from) {
			o.lines.ask(func() { o.drain(from, o.lines) })
		}
	}
	done := make(chan struct{})
	o.lines.ask(func() { close(done) })
	select {
	case <-done:
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
		to.ask(func() {
			o.drain(from, to)
			close(done)
		})
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
