package monitor

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// commandReload is the supervisor's answer to Reloading.
func (m *Monitor) commandReload(_ wire.Header, b *wire.Body) (uint32, error) {
	ready := b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	r := m.reload
	if r == nil || !r.told || r.failed != nil || m.plan == r.plan || ready > 1 {
		return 0, unix.EINVAL
	}
	if ready == 0 {
		m.giveUp(r, errStopping)
		return 0, nil
	}
	r.agreed = true
	m.tendReload()
	return 0, nil
}

// tendReload swaps when the last worker of what changes has ended: one that
// started while the supervisor said that there was none is nobody's fault, and
// may have a connection.
func (m *Monitor) tendReload() {
	r := m.reload
	if r == nil || !r.agreed || m.plan == r.plan {
		return
	}
	for _, w := range m.workers {
		if w.launched && !w.ended && w.private == nil && !slices.Contains(r.components, w.component) {
			return
		}
	}
	m.swap(r)
}

// commandAdopted ends the time in which the supervisor's numbers are those of
// the plan before.
func (m *Monitor) commandAdopted(_ wire.Header, b *wire.Body) (uint32, error) {
	m.numbers, m.logs = m.components, m.plan.Logs
	return 0, b.End()
}

// swap puts the new plan in the place of the old one. What is told before
// Reloaded has the old numbers, what is told after it the new ones; what the
// supervisor asks has the old ones until it says Adopted.
func (m *Monitor) swap(r *reload) {
	queues := map[string][]*request{}
	for _, c := range m.components {
		m.tellRecord(c)
		if !slices.Contains(r.components, c) {
			queues[c.Name], c.queue = c.queue, nil
			m.retire(r, c)
		}
	}
	before := m.plan
	m.plan, m.components = r.plan, r.components
	fresh := []*component{}
	for i, c := range m.components {
		if c.index < 0 {
			fresh = append(fresh, c)
		} else {
			m.renumber(c, i)
		}
		c.index = i
	}
	m.handover.Supervisor = len(m.components) - 1
	if m.handover.Resolver >= 0 {
		m.handover.Resolver = slices.Index(r.same, m.handover.Resolver)
	}
	m.swapListeners(r, before)
	unix.Close(m.planFD)
	m.planFD = r.file
	m.settlePlan(handover.OrderCommit)
	if err := m.placePlan(); err != nil {
		lastWords("the policy is changed, but the next sandbox reload or inspect finds the one before it: " + err.Error() + "; stop the application and start it again")
	}
	m.tell(wire.Reloaded, func(b *wire.Message) { b.U32(uint32(len(m.components))) })
	for name, fd := range r.logs {
		m.tellLog(name, fd)
		unix.Close(fd)
	}
	m.share()
	for _, c := range fresh {
		m.brokerFiles(c)
		m.nameFor(c)
		m.tellPipes(c)
		if c.control < 0 {
			m.tell(wire.CompartmentLost, func(b *wire.Message) { b.U32(uint32(c.index)).String("its init ended") })
		}
		m.makeDoors(c)
		m.tendDoors(c)
		m.fillAhead(c)
		for _, request := range queues[c.Name] {
			m.ask(c, request)
		}
		delete(queues, c.Name)
	}
	for _, queue := range queues {
		for _, request := range queue {
			m.refuse(request, unix.EPERM) // of a component that is gone
		}
	}
	time.AfterFunc(settled, debug.FreeOSMemory)
	m.over(r)
}

// placePlan puts the plan where inspect and reload find it: a reload starts from
// there, and is refused for ever where that is not the plan that runs.
func (m *Monitor) placePlan() error {
	file := filepath.Join(m.handover.Directory, handover.PlanFile)
	if os.Rename(m.newPlanFile(), file) == nil {
		return nil
	}
	b, err := handover.ReadFile(m.planFD, plan.MaximumSize)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	os.Remove(m.newPlanFile())
	return err
}

// renumber makes a component that runs on one of the new plan. Its grants are
// the same in the same order, under other numbers.
func (m *Monitor) renumber(c *component, index int) {
	now := &m.plan.Components[index]
	forgetWalls(now)
	numbers := map[int]int{}
	for i, b := range c.Grants {
		numbers[b.Grant] = now.Grants[i].Grant
	}
	c.Component = now
	for _, w := range m.workersOf(c) {
		dropped := w.dropped
		w.dropped = nil
		for grant := range dropped {
			m.drop(w, numbers[grant])
		}
	}
	if c.files != nil {
		// A copy of the same length: a hand that looks at this moment has the
		// one or the other, and the same grants in both.
		territories := slices.Clone(c.files.territories)
		for i := range territories {
			territories[i].index = numbers[territories[i].index]
			territories[i].grant = &m.plan.Grants[territories[i].index]
		}
		c.files.territories = territories
	}
}

// swapListeners closes what is not granted any more. The sockets of grants that
// are, under whatever name, stay open, with what waits in their queues.
func (m *Monitor) swapListeners(r *reload, before *plan.Plan) {
	for old, fd := range m.listeners {
		kept := false
		for index, other := range r.listeners {
			if other != fd {
				continue
			}
			kept = true
			if g := &m.plan.Grants[index]; g.Backlog != before.Grants[old].Backlog && (g.Network == "tcp" || g.Network == "unix") {
				backlog := g.Backlog
				if backlog == 0 {
					backlog = unix.SOMAXCONN
				}
				unix.Listen(fd, backlog)
			}
		}
		if !kept {
			m.loop.close(fd)
		}
	}
	m.listeners = r.listeners
}

// retire ends a compartment that is of no plan any more, or never became one of
// the plan's. Whoever waits for something of it is told now, by the numbers of
// before.
func (m *Monitor) retire(r *reload, c *component) {
	c.held = heldOff
	m.tendDoors(c)
	m.unwatch(c)
	for _, w := range m.workersOf(c) {
		m.kill(w, "its component has a new policy")
		if w.private == nil && w.launched {
			m.tellEnd(w, wire.Signaled, uint32(unix.SIGKILL), 0, w.leaf.Peak(), w.why)
		}
		for _, fd := range []*int{&w.socket, &w.listener, &w.broker} {
			m.loop.close(*fd)
			*fd = -1
		}
	}
	c.index = -1
	m.loop.close(c.notifier)
	c.notifier = -1
	c.closeOutput()
	for _, fd := range []*int{&c.written[0], &c.written[1], &c.readyEnd} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
	for _, end := range c.untold {
		unix.Close(end.fd)
	}
	for _, s := range c.stored {
		unix.Close(s.fd)
	}
	c.untold, c.stored = nil, nil
	if c.pidfd < 0 {
		return // it was lost before
	}
	r.ending++
	c.gone = func() {
		c.gone = nil
		r.ending--
		m.over(r)
	}
	m.loop.close(c.control) // which ends the init
	c.control = -1
	m.loop.after(initPatience, func() {
		if c.pidfd >= 0 {
			unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
		}
	})
}
