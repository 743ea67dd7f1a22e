package monitor

import "time"

// budget is what is left of a limit by the second: so many a second, and as many
// at once after a pause. Who has used it up waits; nothing is refused.
type budget struct {
	left float64
	at   time.Time // when left was right
}

// wait is how long until there is something left, zero when there is.
func (b *budget) wait(limit uint64, now time.Time) time.Duration {
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
		return 0
	}
	return time.Duration((1 - b.left) / rate * float64(time.Second))
}

// take takes some, also more than is left: the next one waits longer for that.
func (b *budget) take(n int) { b.left -= float64(n) }

// spent says whether a worker has to wait with what it asks at a descriptor. It
// is then not looked at until the budgets have something again: what it sends
// meanwhile fills its own socket, and its calls stand still.
func (m *Monitor) spent(w *work, fd int) bool {
	c := w.component
	if c.Limits.Requests == 0 && c.Limits.RequestBytes == 0 {
		return false
	}
	now := time.Now()
	wait := max(c.requests.wait(uint64(c.Limits.Requests), now), c.bytes.wait(c.Limits.RequestBytes, now))
	if wait <= 0 {
		c.requests.take(1)
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
