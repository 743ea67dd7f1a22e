package monitor

import "testing"

// Processes that are killed in their calls, one after another while every hand is
// held, cost the monitor no memory; whoever still waits keeps his place.
func TestQueueForgetsWhoIsGone(t *testing.T) {
	f := &files{}
	alive := map[*handwork]bool{}
	var order []*handwork
	for i := range 20_000 {
		h := &handwork{}
		if i%1000 == 0 {
			alive[h] = true
			order = append(order, h)
		}
		f.queue(h, func(h *handwork) bool { return alive[h] })
		if most := 2*len(alive) + maximumHands; len(f.waiting) > most {
			t.Fatalf("%d works wait for %d callers after %d calls", len(f.waiting), len(alive), i+1)
		}
	}
	for _, h := range f.waiting {
		if alive[h] && h == order[0] {
			order = order[1:]
		}
	}
	if len(order) > 0 {
		t.Errorf("%d callers that wait lost their place", len(order))
	}
}
