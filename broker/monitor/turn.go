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
	l.sources[fd] = source{f, events, who}
	return nil
}

// serve serves the events of one round.
func (l *loop) serve(events []unix.EpollEvent) {
	clear(l.counts)
	for _, e := range events {
		s, ok := l.sources[int(e.Fd)]
		switch {
		case !ok: // an earlier event of this round has closed it
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
		if s, ok := l.sources[int(e.Fd)]; ok && s.owner != nil && l.counts[s.owner] > 0 {
			l.counts[s.owner]--
			s.f(e.Events)
		}
	}
}
