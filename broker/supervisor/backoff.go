package supervisor

import "time"

// stableTime is how long a component must have been ready before its
// failures are forgotten, and at least the delay that it last waited.
const stableTime = 10 * time.Second

// backoff is the delay between two starts of a component. It doubles with
// each failure, and it counts from the start before, not from the end: what
// ran longer than the delay starts again at once, what exits at once does so
// at most once in every delay.
type backoff struct {
	first, maximum time.Duration
	failures       int
	last           time.Duration
}

// next returns how long to wait after a worker that ran for a time. random
// is from [0, 1): up to a quarter is added, so that components that fell
// together do not all come back in the same instant; or taken off, where that
// would be more than the maximum.
func (b *backoff) next(ran time.Duration, random float64) time.Duration {
	delay := b.first
	for range b.failures {
		if delay >= b.maximum {
			break
		}
		delay *= 2
	}
	most := max(b.maximum, b.first)
	delay = min(delay, most)
	b.failures++
	b.last = delay
	spread := time.Duration(float64(delay) / 4 * random)
	if delay+spread > most {
		spread = max(-spread, b.first-delay)
	}
	return max(0, delay+spread-ran)
}

func (b *backoff) stableAfter() time.Duration { return max(stableTime, b.last) }

func (b *backoff) reset() { b.failures, b.last = 0, 0 }
