package monitor

import "golang.org/x/sys/unix"

// Turns. What workers ask for is served one request for each event, and in a
// round no component more often than the one with the fewest events in it: one
// that floods the monitor from a hundred workers slows another by one request
// and not by a hundred. What is left over stays readable and comes again, behind
// what others have asked meanwhile (epoll(7), level-triggered).

// owner is who has turns: a component, nil for what nobody can flood.
type owner any

// aloneAtOnce is how many events of one component are served before the loop
// looks for others.
const aloneAtOnce = 8

// addFor is add for a descriptor at whose other end somebody may make events
// without end.
func (l *loop) addFor(who owner, fd int, events uint32, f func(events uint32)) error {
	if err := l.add(fd, events, f); err != nil {
		return err
	}
	s := l.sources[fd]
	s.owner = who
	l.sources[fd] = s
	return nil
}

// sourceOf is whom an event is for, if an earlier event of the same round has
// not closed it. Its number may be another's by then: the listener of a worker
// that was just started has nothing to say, and asking it would wait for ever.
func (l *loop) sourceOf(e unix.EpollEvent) (source, bool) {
	s, ok := l.sources[int(e.Fd)]
	return s, ok && s.serial == e.Pad
}

// serve serves the events of one round.
func (l *loop) serve(events []unix.EpollEvent) {
	if len(events) == 1 {
		if s, ok := l.sourceOf(events[0]); ok {
			s.f(events[0].Events)
		}
		return
	}
	clear(l.counts)
	for _, e := range events {
		s, ok := l.sourceOf(e)
		switch {
		case !ok:
		case s.owner == nil:
			s.f(e.Events)
		default:
			l.counts[s.owner]++
		}
	}
	turns := len(events)
	for _, n := range l.counts {
		turns = min(turns, n)
	}
	if len(l.counts) == 1 {
		turns = aloneAtOnce
	}
	for who := range l.counts {
		l.counts[who] = turns
	}
	for _, e := range events {
		if s, ok := l.sourceOf(e); ok && s.owner != nil && l.counts[s.owner] > 0 {
			l.counts[s.owner]--
			s.f(e.Events)
		}
	}
}
