package supervisor

import (
	"bytes"
	"strconv"
	"time"

	"bulkhead/broker/control"
)

// split cuts a chunk into lines. What follows the last newline stays in
// s.partial, which never grows beyond lineBytes.
func (o *output) split(s *stream, chunk []byte) {
	for len(chunk) > 0 {
		end := bytes.IndexByte(chunk, '\n')
		part := chunk
		if end >= 0 {
			part = chunk[:end]
		}
		if room := lineBytes - len(s.partial); len(part) > room {
			s.partial = append(s.partial, part[:room]...)
			o.line(s, s.partial, true)
			s.partial = s.partial[:0]
			chunk = chunk[room:]
			continue
		}
		if end < 0 {
			s.partial = append(s.partial, part...)
			return
		}
		chunk = chunk[end+1:]
		if len(s.partial) > 0 {
			s.partial = append(s.partial, part...)
			part = s.partial
		}
		o.line(s, bytes.TrimSuffix(part, []byte{'\r'}), false)
		s.partial = nil
	}
}

// line adds one line to the page, the ring and the followers.
func (o *output) line(s *stream, text []byte, broken bool) {
	now := time.Now()
	s.source.ring.add(now, s.number, text, broken)
	if o.feeds.any() {
		name := s.source.name
		o.feeds.tell(name, control.Reply{Line: &control.Line{
			Time: now, Component: name, Stream: s.number, Text: string(text), Broken: broken,
		}})
	}
	page := s.sink.page
	switch {
	case s.sink.log != nil && s.sink.log.journald():
		s.sink.page = s.sink.log.entry(page, s, text, broken)
		s.sink.flush() // an entry is a packet
		return
	case s.sink.log != nil:
		page = append(s.sink.stamp(page, now, s.source.name), text...)
	case o.terminal:
		page = visible(o.prefix(page, s.source), text, o.colour)
	default:
		page = append(o.prefix(page, s.source), text...)
	}
	s.sink.page = append(page, '\n')
	if len(s.sink.page) >= pageBytes {
		s.sink.flush()
	}
}

// logTime is how lines of a log file begin. The broker makes the time, so
// that no component can forge it, and sorts as text.
const logTime = "2006-01-02T15:04:05.000000Z "

func (s *sink) stamp(b []byte, now time.Time, name string) []byte {
	b = now.UTC().AppendFormat(b, logTime)
	if s.named.Load() {
		b = append(append(b, name...), ": "...)
	}
	return b
}

// palette are the colours of names, of those that are readable on black and
// on white.
var palette = [...]int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}

func (o *output) nameWidth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.width
}

func (o *output) prefix(b []byte, from *source) []byte {
	name := from.name
	if o.colour {
		b = append(b, "\x1b["...)
		b = strconv.AppendInt(b, int64(palette[from.number%len(palette)]), 10)
		b = append(b, 'm')
	}
	b = append(b, name...)
	for range o.nameWidth() - len(name) {
		b = append(b, ' ')
	}
	b = append(b, " |"...)
	if o.colour {
		b = append(b, "\x1b[0m"...)
	}
	return append(b, ' ')
}

// visible appends text with its control characters in caret notation, so
// that it cannot move the cursor, rename the window or type for its reader.
// Tabs pass, and with colours also the sequences that only set colours.
func visible(b, text []byte, colours bool) []byte {
	coloured := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == 0x1b && colours:
			if n := colourSequence(text[i:]); n > 0 {
				b = append(b, text[i:i+n]...)
				i += n - 1
				coloured = true
				continue
			}
			b = append(b, "^["...)
		case c < ' ' && c != '\t':
			b = append(b, '^', c+'@')
		case c == 0x7f:
			b = append(b, "^?"...)
		case c == 0xc2 && i+1 < len(text) && text[i+1] >= 0x80 && text[i+1] < 0xa0:
			// U+0080 to U+009F: some terminals take them for escapes.
			b = append(b, "^"...)
			i++
		default:
			b = append(b, c)
		}
	}
	if coloured {
		b = append(b, "\x1b[0m"...)
	}
	return b
}

// colourSequence returns the length of ESC [ digits and semicolons m, or 0.
func colourSequence(text []byte) int {
	if len(text) < 3 || text[1] != '[' {
		return 0
	}
	for i := 2; i < len(text) && i < 24; i++ {
		switch c := text[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}
