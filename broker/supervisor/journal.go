package supervisor

import (
	"time"

	"bulkhead/broker/control"
)

// journalLength is how many events are kept.
const journalLength = 512

// journal keeps the last events and tells them to followers.
type journal struct {
	events []control.Event // a ring once it is full
	next   int
	feeds  feeds
}

// add keeps an event and tells it.
func (j *journal) add(e control.Event) {
	e.Time = time.Now()
	if len(j.events) < journalLength {
		j.events = append(j.events, e)
	} else {
		j.events[j.next] = e
		j.next = (j.next + 1) % journalLength
	}
	j.tell(e)
}

// tell tells an event that is too frequent to be kept.
func (j *journal) tell(e control.Event) {
	if j.feeds.any() {
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		j.feeds.tell(e.Component, control.Reply{Event: &e})
	}
}

// last returns at most n of the newest events about a component, or about
// everything when it is "", oldest first.
func (j *journal) last(n int, component string) []control.Event {
	var found []control.Event
	for i := len(j.events) - 1; i >= 0 && len(found) < n; i-- {
		e := j.events[(j.next+i)%len(j.events)]
		if component == "" || e.Component == component {
			found = append(found, e)
		}
	}
	for i, k := 0, len(found)-1; i < k; i, k = i+1, k-1 {
		found[i], found[k] = found[k], found[i]
	}
	return found
}
