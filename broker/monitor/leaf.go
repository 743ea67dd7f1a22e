package monitor

import (
	"strconv"
	"time"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// spare is a cgroup leaf that waits for its worker, whose number it has.
type spare struct {
	id   uint32
	leaf *cgroup.Leaf
}

// maximumSpares bounds the leaves that a component keeps: what a burst of
// workers left behind is not kept for the next one.
const maximumSpares = 8

// takeLeaf takes a spare leaf, or makes one. Making one is the dearest thing
// that the monitor does for a worker, so it is done ahead where workers come
// and go, and a leaf is used again where the kernel lets it.
func (m *Monitor) takeLeaf(c *component) (spare, error) {
	if n := len(c.spares); n > 0 {
		s := c.spares[n-1]
		c.spares = c.spares[:n-1]
		return s, nil
	}
	return m.makeLeaf(c)
}

func (m *Monitor) makeLeaf(c *component) (spare, error) {
	m.lastWorker++
	leaf, err := c.group.NewLeaf(leafName(m.lastWorker), c.Limits)
	return spare{m.lastWorker, leaf}, err
}

func leafName(worker uint32) string { return "w" + strconv.Itoa(int(worker)) }

// fillSpares makes one leaf ahead of the next request.
func (m *Monitor) fillSpares(c *component) {
	if c.Start == plan.WithApplication || c.group == nil || len(c.spares) > 0 {
		return
	}
	if s, err := m.makeLeaf(c); err == nil {
		c.spares = append(c.spares, s)
	}
}

// returnLeaf takes the leaf of a worker that is gone.
func (m *Monitor) returnLeaf(c *component, leaf *cgroup.Leaf) {
	if c.Start != plan.WithApplication && len(c.spares) < maximumSpares {
		if leaf.Recycle(leafName(m.lastWorker + 1)) {
			m.lastWorker++
			c.spares = append(c.spares, spare{m.lastWorker, leaf})
			return
		}
	}
	m.removeLeaf(leaf, 0)
}

// maximumKept bounds the workers of a component whose leaves stay open, with
// some six descriptors each.
const maximumKept = 32

// keepsOpen says whether the leaf of one more worker stays open for the next
// one: where workers come and go.
func (c *component) keepsOpen() bool {
	return c.Start != plan.WithApplication && c.workers < maximumKept
}

// dropSpares is called when the compartment is lost: its group goes.
func (m *Monitor) dropSpares(c *component) {
	for _, s := range c.spares {
		m.removeLeaf(s.leaf, 0)
	}
	c.spares = nil
}

// removeLeaf removes the worker's cgroup. The kernel may need a moment after
// the last process is gone; what is still busy after that is the sweeper's.
func (m *Monitor) removeLeaf(l *cgroup.Leaf, tried int) {
	l.Close()
	if l.Remove() == nil || tried == 20 {
		return
	}
	m.loop.after(time.Duration(tried+1)*time.Millisecond, func() { m.removeLeaf(l, tried+1) })
}
