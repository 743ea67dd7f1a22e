package monitor

import "time"

// budget is what is left of a component's limits.requests: so many a second, and
// as many at once after a pause. Who has used it up waits; nothing is refused.
type budget struct {
	left float64
	at   time.Time // when left was right
}

// take takes one and returns zero, or how long to wait for it.
func (b *budget) take(limit uint32, now time.Time) time.Duration {
	if limit == 0 {
		return 0
	}
	rate := float64(limit)
	if b.at.IsZero() {
		b.left = rate
	} else {
		b.left = min(rate, b.left+now.Sub(b.at).Seconds()*rate)
	}
	b.at = now
	if b.left >= 1 {
		b.left--
		return 0
	}
	return time.Duration((1 - b.left) / rate * float64(time.Second))
}

// spent says whether a worker has to wait with what it asks at a descriptor. It
// is then not looked at until the budget has something again: what it sends
// meanwhile fills its own socket, and its calls stand still.
func (m *Monitor) spent(w *work, fd int) bool {
	if w.component.Limits.Requests == 0 {
		return false
	}
	wait := w.component.budget.take(w.component.Limits.Requests, time.Now())
	if wait <= 0 {
		return false
	}
	m.loop.pause(fd)
	m.loop.after(max(wait, time.Millisecond), func() {
		if fd == w.broker || fd == w.listener {
			m.loop.resume(fd)
		}
	})
	return true
}
