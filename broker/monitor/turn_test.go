package monitor

import (
	"testing"

	"golang.org/x/sys/unix"
)

// ready is a descriptor that always has an event.
func ready(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// A component with many descriptors that are always readable gets as many turns
// as one with few, and one that comes late waits for few.
func TestTurnsAreFair(t *testing.T) {
	for _, c := range []struct{ loud, quiet int }{{1, 1}, {100, 1}, {500, 1}, {100, 3}} {
		l, err := newLoop()
		if err != nil {
			t.Fatal(err)
		}
		loud, quiet, longest, since := 0, 0, 0, 0
		const turns = 2000
		done := func() { l.done = loud+quiet >= turns }
		for range c.loud {
			l.addFor("loud", ready(t), unix.EPOLLIN, func(uint32) {
				loud++
				since++
				done()
			})
		}
		for range c.quiet {
			l.addFor("quiet", ready(t), unix.EPOLLIN, func(uint32) {
				quiet++
				longest, since = max(longest, since), 0
				done()
			})
		}
		if err := l.run(); err != nil {
			t.Fatal(err)
		}
		unix.Close(l.epoll)
		unix.Close(l.wake)
		// Rounds in which the quiet one is not seen serve a few of the loud
		// one's alone; there are as many as its descriptors fill.
		rounds := (c.loud+c.quiet)/64 + 1
		if quiet*(1+aloneAtOnce*rounds) < loud || longest > aloneAtOnce*rounds+c.quiet {
			t.Errorf("%d descriptors against %d: %d turns against %d, %d in a row", c.loud, c.quiet, loud, quiet, longest)
		}
	}
}

// What nobody can flood is served in every round in which it is seen.
func TestWhatHasNoOwnerIsServedFirst(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l.epoll)
	var order []string
	l.addFor("somebody", ready(t), unix.EPOLLIN, func(uint32) { order = append(order, "worker"); l.done = true })
	l.add(ready(t), unix.EPOLLIN, func(uint32) { order = append(order, "monitor"); l.done = len(order) > 1 })
	if err := l.run(); err != nil {
		t.Fatal(err)
	}
	if len(order) != 2 || order[0] != "monitor" {
		t.Errorf("%q", order)
	}
}

// A source that an earlier event of the round closes is not called.
func TestClosedInTheSameRound(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l.epoll)
	called := 0
	fds := []int{ready(t), ready(t)}
	for k, fd := range fds {
		l.addFor(k, fd, unix.EPOLLIN, func(uint32) {
			called++
			l.remove(fds[1-k])
			l.done = true
		})
	}
	if err := l.run(); err != nil || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
}

// An event is for whom it came for, and for nobody who got the number since.
func TestEventOfAClosedSource(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l.epoll)
	fds := [2]int{ready(t), ready(t)}
	quiet, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(quiet)
	called := 0
	for i := range fds {
		l.addFor("worker", fds[i], unix.EPOLLIN, func(uint32) {
			called++
			other := fds[1-i]
			l.close(other)
			if err := unix.Dup3(quiet, other, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			l.addFor("worker", other, unix.EPOLLIN, func(uint32) { t.Error("called without an event of its own") })
			l.remove(fds[i])
			l.after(0, func() { l.done = true })
		})
	}
	if err := l.run(); err != nil || called != 1 {
		t.Errorf("called %d times, %v", called, err)
	}
}
