package monitor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1000, 0)
	taken := func(d time.Duration) (n int) {
		now = now.Add(d)
		for b.take(50, now) == 0 {
			n++
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 50}, {0, 0}, {100 * time.Millisecond, 5}, {time.Second, 50}, {time.Hour, 50}, {10 * time.Millisecond, 0}, {10 * time.Millisecond, 1}} {
		if got := taken(step.after); got != step.want {
			t.Errorf("after %v it takes %d, want %d", step.after, got, step.want)
		}
	}
	if wait := b.take(50, now); wait <= 0 || wait > 20*time.Millisecond {
		t.Errorf("the next in %v", wait)
	}
	for range 1000 {
		if b.take(0, now) != 0 {
			t.Fatal("without a limit there is nothing to wait for")
		}
	}
}

// A source that is paused is not called, and loses nothing.
func TestPausedSource(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l.epoll)
	fd, called, resumed := ready(t), 0, false
	l.addFor("worker", fd, unix.EPOLLIN, func(uint32) {
		called++
		switch {
		case !resumed && called > 1:
			t.Error("called while it was paused")
			l.done = true
		case resumed:
			l.done = true
		default:
			l.pause(fd)
			l.after(20*time.Millisecond, func() { resumed = true; l.resume(fd) })
		}
	})
	if err := l.run(); err != nil || called != 2 {
		t.Errorf("called %d times, %v", called, err)
	}
	// What was closed meanwhile stays closed.
	l.pause(fd)
	l.remove(fd)
	l.resume(fd)
	if _, ok := l.sources[fd]; ok {
		t.Error("resume brings a removed source back")
	}
}
