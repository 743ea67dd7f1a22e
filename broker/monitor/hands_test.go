package monitor

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Processes that are killed in their calls, one after another while every hand is
// held, cost the monitor neither memory nor descriptors; whoever still waits keeps
// his place, and what his work needs.
func TestQueueForgetsWhoIsGone(t *testing.T) {
	k := newTalker(t)
	f := &files{}
	alive := map[*handwork]bool{}
	var order []*handwork
	before := k.descriptors()
	for i := range 20_000 {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		h := &handwork{fd: fd}
		if i%1000 == 0 {
			alive[h] = true
			order = append(order, h)
		}
		f.queue(h, func(h *handwork) bool { return alive[h] })
		if most := 2*len(alive) + maximumHands; len(f.waiting) > most {
			t.Fatalf("%d works wait for %d callers after %d calls", len(f.waiting), len(alive), i+1)
		}
	}
	if now := k.descriptors() - before; now != len(f.waiting) {
		t.Errorf("%d descriptors are open for %d works that wait", now, len(f.waiting))
	}
	for _, h := range f.waiting {
		h.end()
		if alive[h] && h == order[0] {
			order = order[1:]
		}
	}
	if len(order) > 0 {
		t.Errorf("%d callers that wait lost their place", len(order))
	}
}
