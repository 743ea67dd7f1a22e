package supervisor

import (
	"sync"
	"time"

	"bulkhead/broker/control"
)

// What a ring keeps of one component.
const (
	ringBytes = 16 << 10
	ringLines = 256
)

// ring keeps the last lines of a component. It allocates at its first line
// and never again, whatever the component writes.
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
	if r.text == nil {
		r.text = make([]byte, ringBytes)
		r.entries = make([]ringEntry, ringLines)
	}
	for r.count == ringLines || r.count > 0 && r.used+len(line) > ringBytes {
		r.used -= int(r.entries[r.first].length)
		r.first = (r.first + 1) % ringLines
		r.count--
	}
	r.entries[(r.first+r.count)%ringLines] = ringEntry{
		time: now.UnixNano(), start: int32(r.at), length: int32(len(line)), stream: int8(stream), broken: broken,
	}
	r.count++
	r.used += len(line)
	n := copy(r.text[r.at:], line)
	copy(r.text, line[n:])
	r.at = (r.at + len(line)) % ringBytes
}

// last returns at most n of the newest lines, oldest first.
func (r *ring) last(n int, component string) []control.Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.count)
	lines := make([]control.Line, 0, n)
	for i := r.count - n; i < r.count; i++ {
		e := r.entries[(r.first+i)%ringLines]
		start, end := int(e.start), int(e.start+e.length)
		var text string
		if end <= ringBytes {
			text = string(r.text[start:end])
		} else {
			text = string(r.text[start:]) + string(r.text[:end-ringBytes])
		}
		lines = append(lines, control.Line{
			Time: time.Unix(0, e.time), Component: component, Stream: int(e.stream), Text: text, Broken: e.broken,
		})
	}
	return lines
}
