package e2e

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// Output collects a stream and lets others wait for what comes.
type Output struct {
	mutex   sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced at each change
	closed  bool
}

func newOutput() *Output { return &Output{changed: make(chan struct{})} }

func (o *Output) Write(b []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(b)
}

func (o *Output) close() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.closed = true
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *Output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// wait waits until text is there, and says whether it came before the end of
// the stream and the time.
func (o *Output) wait(text string, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		o.mutex.Lock()
		there, closed, changed := strings.Contains(o.text.String(), text), o.closed, o.changed
		o.mutex.Unlock()
		if there || closed {
			return there
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}
