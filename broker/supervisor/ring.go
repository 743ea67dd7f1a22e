package supervisor

import (
	"bytes"
	"sync"
	"time"

	"bulkhead/broker/control"
)

// What a ring keeps of one component, at first and at most.
const (
	firstBytes = 1 << 10
	firstLines = 16
	ringBytes  = 16 << 10
	ringLines  = 256
)

// ring keeps the last lines of a component. It grows with what there is to keep:
// most components say a few lines in their life.
type ring struct {
	mu      sync.Mutex
	text    []byte
	entries []ringEntry
	first   int // index into entries of the oldest
	count   int
	at      int // where in text the next line goes
	used    int
}

type ringEntry struct {
	time   int64 // nanoseconds since 1970: a time.Time is three times as large
	start  int32
	length int32
	stream int8
	broken bool
}

func (r *ring) add(now time.Time, stream int, line []byte, broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grow(len(line))
	for r.count == len(r.entries) || r.count > 0 && r.used+len(line) > len(r.text) {
		r.used -= int(r.entries[r.first].length)
		r.first = (r.first + 1) % len(r.entries)
		r.count--
	}
	r.put(ringEntry{time: now.UnixNano(), stream: int8(stream), broken: broken}, line)
}

// put adds a line for which there is room.
func (r *ring) put(e ringEntry, line []byte) {
	e.start, e.length = int32(r.at), int32(len(line))
	r.entries[(r.first+r.count)%len(r.entries)] = e
	r.count++
	r.used += len(line)
	n := copy(r.text[r.at:], line)
	copy(r.text, line[n:])
	r.at = (r.at + len(line)) % len(r.text)
}

// grow makes more room, if a line needs it and there may be more.
func (r *ring) grow(length int) {
	lines, size := max(len(r.entries), firstLines), max(len(r.text), firstBytes)
	if r.count == lines {
		lines = min(2*lines, ringLines)
	}
	for r.used+length > size && size < ringBytes {
		size *= 2
	}
	if lines == len(r.entries) && size == len(r.text) {
		return
	}
	larger := ring{entries: make([]ringEntry, lines), text: make([]byte, size)}
	for i := range r.count {
		e := r.entries[(r.first+i)%len(r.entries)]
		larger.put(e, r.textOf(e))
	}
	r.entries, r.text, r.first, r.at = larger.entries, larger.text, 0, larger.at
}

func (r *ring) textOf(e ringEntry) []byte {
	start, end := int(e.start), int(e.start+e.length)
	if end <= len(r.text) {
		return r.text[start:end]
	}
	return append(bytes.Clone(r.text[start:]), r.text[:end-len(r.text)]...)
}

// last returns at most n of the newest lines, oldest first.
func (r *ring) last(n int, component string) []control.Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.count)
	lines := make([]control.Line, 0, n)
	for i := r.count - n; i < r.count; i++ {
		e := r.entries[(r.first+i)%len(r.entries)]
		lines = append(lines, control.Line{
			Time: time.Unix(0, e.time), Component: component, Stream: int(e.stream), Text: string(r.textOf(e)), Broken: e.broken,
		})
	}
	return lines
}
