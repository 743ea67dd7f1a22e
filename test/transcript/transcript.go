// Package transcript keeps what a process writes, for a test that looks at it
// meanwhile.
package transcript

import (
	"bytes"
	"sync"
)

// Transcript is what has been written so far.
type Transcript struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

// Write keeps b.
func (t *Transcript) Write(b []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.text.Write(b)
}

func (t *Transcript) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.text.String()
}
