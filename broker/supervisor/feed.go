package supervisor

import (
	"sync"

	"bulkhead/broker/control"
)

// feedLength is how far a follower may be behind before it is dropped.
const feedLength = 256

// feed carries what happens to one follower on a control socket. Whoever
// tells it something never waits: a follower that is too slow is cut off.
type feed struct {
	replies   chan control.Reply
	component string // only this one's; "" is everybody's
}

// feeds are the followers of one subject.
type feeds struct {
	mu  sync.Mutex
	all map[*feed]struct{}
}

func (f *feeds) follow(component string) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*feed]struct{})
	}
	one := &feed{replies: make(chan control.Reply, feedLength), component: component}
	f.all[one] = struct{}{}
	return one
}

func (f *feeds) leave(one *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, one)
}

// any says whether somebody follows, so that nothing is built for nobody.
func (f *feeds) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all) > 0
}

// tell passes a reply on to everybody who follows component. The channel of
// one who has no room left is closed: its server says so and hangs up.
func (f *feeds) tell(component string, r control.Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if one.component != "" && one.component != component {
			continue
		}
		select {
		case one.replies <- r:
		default:
			delete(f.all, one)
			close(one.replies)
		}
	}
}
