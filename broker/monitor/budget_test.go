package monitor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1000, 0)
	taken := func(d time.Duration) (n int) {
		now = now.Add(d)
		for b.wait(50, now) == 0 {
			b.take(1)
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
	if wait := b.wait(50, now); wait <= 0 || wait > 20*time.Millisecond {
		t.Errorf("the next in %v", wait)
	}
	b.take(500) // much at once is waited for by the next
	if wait := b.wait(50, now); wait < 10*time.Second || wait > 11*time.Second {
		t.Errorf("after ten seconds' worth, the next in %v", wait)
	}
	for range 1000 {
		b.take(1)
		if b.wait(0, now) != 0 {
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

// Who has used a budget up is not read any more: its next request stays in its
// own socket, whole, until there is something again.
func TestSpentBudgetLeavesRequestsUnread(t *testing.T) {
	for name, limits := range map[string]plan.Limits{
		"requests": {Requests: 1},
		"bytes":    {RequestBytes: wire.HeaderSize / 2},
	} {
		k := newTalker(t)
		k.w.component.Limits = limits
		if err := k.m.loop.addFor(k.w.component, k.w.broker, unix.EPOLLIN, func(uint32) { k.m.workerAsks(k.w) }); err != nil {
			t.Fatal(err)
		}
		if errno, _ := k.ask(wire.Ready, nothing); errno != 0 { // all of a second's
			t.Fatal(errno)
		}
		var m wire.Message
		packet, _ := m.Begin(wire.Header{Kind: wire.Request, Op: wire.Ready, ID: 8}).Bytes()
		k.send(packet)
		unread, err := unix.IoctlGetInt(k.w.broker, unix.SIOCINQ)
		if err != nil || unread != len(packet) {
			t.Errorf("%s: %d bytes are left unread, %v", name, unread, err)
		}
		for !k.answered() {
			k.m.loop.after(time.Millisecond, func() { k.m.loop.done = true })
			k.m.loop.done = false
			if err := k.m.loop.run(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// answered says whether an answer waits for the worker.
func (t *talker) answered() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(t.socket), Events: unix.POLLIN}}, 0)
	return err == nil && n == 1
}
