package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/broker/confine"
	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// reload is a changed plan on its way in. It comes from sandbox reload on a
// socket of its own, which only the monitor's own user can reach, by way of the
// keeper: neither the supervisor, who may only ask for what the plan allows, nor
// a monitor that was taken over can bring another.
//
//	prepare   off the loop: read and compared with the present one
//	buildNext what changes is built beside what runs
//	furnish   what was built becomes components without a number
//	Reloading the supervisor takes down what changes, in its order
//	swap      one step of the loop: the new table in the place of the old one
//
// Until the swap nothing of what runs is touched, and whatever fails before is
// undone by giveUp. The swap itself does nothing that can fail.
type reload struct {
	client int // who asked, -1 when it has hung up
	file   int // the plan's memfd
	plan   *plan.Plan
	same   []int           // by number in plan: the component's number now, -1: changed or new
	made   *handover.Built // and not yet in components
	bound  []int           // listening sockets that were made for it
	told   bool            // the supervisor knows of it
	agreed bool            // … and has taken down what changes
	failed error
	ending int // inits of compartments that go, and have not gone yet

	components []*component // by number in plan
	listeners  map[int]int  // by number of grant in plan
	newLogs    []*plan.Log
	logs       map[string]int // opened for it, by name
	elsewhere  bool           // its grants are in other directories
}

// reloadAsked takes a plan that sandbox reload has brought, by way of the
// keeper, who takes them from nobody but this process's own user, and one at a
// time.
func (m *Monitor) reloadAsked(client, planFD int) {
	r := &reload{client: client, file: planFD, listeners: map[int]int{}, logs: map[string]int{}}
	m.reload = r
	// The client says no more: what can be read is that it has gone.
	m.loop.add(client, unix.EPOLLIN, func(uint32) {
		m.loop.close(client)
		r.client = -1
	})
	if m.stopping || m.link < 0 {
		m.giveUp(r, errStopping)
		return
	}
	go func() {
		err := m.prepare(r)
		m.loop.post(func() { m.buildNext(r, err) })
	}()
}

var errStopping = fmt.Errorf("the application is stopping: %w", unix.ECANCELED)

// answer tells whoever asked how it went.
func (r *reload) answer(failed error) {
	if r.client < 0 {
		return
	}
	var b wire.Message
	h := wire.Header{Kind: wire.Reply, Op: wire.Apply, ID: 1}
	if failed != nil {
		h.Status = uint32(errnoOf(failed))
		text := failed.Error()
		b.Begin(h).String(text[:min(len(text), wire.MaximumText)])
	} else {
		b.Begin(h)
	}
	if packet, err := b.Bytes(); err == nil {
		send(r.client, packet, nil)
	}
}

// prepare reads the plan and finds out what changes. It runs beside the loop
// and touches nothing of the monitor's but what a swap alone changes.
func (m *Monitor) prepare(r *reload) error {
	p, err := plan.Load(r.file, nil)
	if err != nil {
		return err
	}
	r.plan = p
	now, err := plan.Load(m.planFD, nil)
	if err != nil {
		return err
	}
	if r.same, err = plan.Same(now, p); err != nil {
		return err
	}
	if m.handover.Resolver >= 0 && !slices.Contains(r.same, m.handover.Resolver) {
		return fmt.Errorf("the names of grants cannot be changed while the application runs: %w", unix.EINVAL)
	}
	if err := fits(now, p, r.same); err != nil {
		return err
	}
	r.elsewhere = !slices.Equal(confine.Places(now), confine.Places(p))
	for i := range p.Logs {
		if l := &p.Logs[i]; !hasLog(now, l.Name) {
			r.newLogs = append(r.newLogs, l)
		}
	}
	b, err := handover.ReadFile(r.file, plan.MaximumSize)
	if err != nil {
		return err
	}
	return os.WriteFile(m.newPlanFile(), b, 0o600)
}

// buildNext has built what changes.
func (m *Monitor) buildNext(r *reload, err error) {
	if err == nil && m.stopping {
		err = errStopping
	}
	var components, grants []int
	if err == nil {
		for i, same := range r.same {
			if same < 0 {
				components = append(components, i)
			}
		}
		for i := range r.plan.Grants {
			if fd := m.listener(&r.plan.Grants[i]); fd >= 0 {
				r.listeners[i] = fd
			} else if r.plan.Grants[i].Kind == plan.GrantListen {
				grants = append(grants, i)
			}
		}
	}
	// The builder also makes this process's own root anew, with what the new
	// plan names.
	if err != nil || len(components)+len(grants) == 0 && !r.elsewhere {
		m.openLogs(r, err)
		return
	}
	err = m.build(handover.OrderNext, components, grants, func(made *handover.Built, err error) {
		r.made = made
		m.openLogs(r, err)
	})
	if err != nil {
		m.openLogs(r, err)
	}
}

// openLogs opens the logs that are new, beside the loop: a disk may be slow.
func (m *Monitor) openLogs(r *reload, err error) {
	if err != nil || len(r.newLogs) == 0 {
		m.prepared(r, err)
		return
	}
	go func() {
		var err error
		for _, l := range r.newLogs {
			if r.logs[l.Name], err = m.openLog(l, false); err != nil {
				delete(r.logs, l.Name)
				break
			}
		}
		m.loop.post(func() { m.prepared(r, err) })
	}()
}

func (m *Monitor) newPlanFile() string {
	return filepath.Join(m.handover.Directory, handover.PlanFile+".new")
}

// listener is the socket that listens already where a grant says, or -1.
func (m *Monitor) listener(g *plan.Grant) int {
	for index, fd := range m.listeners {
		if plan.SameSocket(&m.plan.Grants[index], g) {
			return fd
		}
	}
	return -1
}

func hasLog(p *plan.Plan, name string) bool {
	for i := range p.Logs {
		if p.Logs[i].Name == name {
			return true
		}
	}
	return false
}

var errMeanwhile = errors.New("the application was changed meanwhile; reload again")

// fits says whether a plan can take the place of another one.
func fits(now, p *plan.Plan, same []int) error {
	if p.Application != now.Application || len(p.Components) == 0 {
		return fmt.Errorf("the plan is one of another application: %w", unix.EINVAL)
	}
	// The supervisor stands last, and is what it was.
	if last := len(p.Components) - 1; same[last] != len(now.Components)-1 {
		return fmt.Errorf("the supervisor itself cannot be changed while it runs: %w", unix.EINVAL)
	}
	if p.Control.Metrics != now.Control.Metrics {
		return fmt.Errorf("the socket for metrics cannot be changed while the application runs: %w", unix.EINVAL)
	}
	if more := confine.Beyond(now, p); more != "" {
		return fmt.Errorf("the monitor has given up what it takes (%s): %w", more, unix.EPERM)
	}
	taken, numbers := map[string]bool{}, map[int]bool{}
	for i := range now.Components {
		taken[now.Components[i].Compartment()], numbers[now.Components[i].Number] = true, true
	}
	for i := range p.Components {
		c := &p.Components[i]
		if same[i] >= 0 {
			if was := &now.Components[same[i]]; c.Generation != was.Generation || c.Number != was.Number {
				return fmt.Errorf("%w: %w", errMeanwhile, unix.EAGAIN)
			}
			continue
		}
		if taken[c.Compartment()] || numbers[c.Number] {
			return fmt.Errorf("%w: %w", errMeanwhile, unix.EAGAIN)
		}
		taken[c.Compartment()], numbers[c.Number] = true, true
	}
	return nil
}

// prepared goes on with a plan for which everything is built.
func (m *Monitor) prepared(r *reload, err error) {
	if err == nil && (m.stopping || m.link < 0) {
		err = errStopping
	}
	if err == nil {
		err = m.furnish(r)
	}
	if err != nil {
		m.giveUp(r, err)
		return
	}
	r.told = true
	m.tell(wire.Reloading, func(*wire.Message) {}, r.file)
}

// furnish makes components of what was built.
func (m *Monitor) furnish(r *reload) error {
	if r.made != nil {
		for _, l := range r.made.Listeners {
			r.listeners[l.Grant] = l.FD
			r.bound = append(r.bound, l.FD)
		}
		r.made.Listeners = nil
	}
	r.components = make([]*component, len(r.same))
	for i, same := range r.same {
		if same >= 0 {
			r.components[i] = m.components[same]
			continue
		}
		r.components[i] = newComponent(r.plan, i, r.listeners)
	}
	for r.made != nil && len(r.made.Compartments) > 0 {
		made := r.made.Compartments[0]
		r.made.Compartments = r.made.Compartments[1:]
		c := r.components[made.Component]
		if err := m.adopt(c, made); err != nil {
			m.forsake(c)
			return fmt.Errorf("component %q: take over its compartment: %w", c.Name, err)
		}
		if err := m.makePipes(c, false); err != nil {
			return err
		}
	}
	return nil
}

// giveUp undoes a reload. What ran runs on.
func (m *Monitor) giveUp(r *reload, why error) {
	r.failed, r.agreed = why, false
	if r.told {
		m.tell(wire.Reloaded, func(b *wire.Message) { b.U32(0) })
	}
	if r.made != nil {
		r.made.Close()
	}
	for _, c := range r.components {
		if c.index < 0 {
			m.retire(r, c)
		}
	}
	closeAll(r.bound)
	for _, fd := range r.logs {
		unix.Close(fd)
	}
	unix.Close(r.file)
	os.Remove(m.newPlanFile())
	m.settlePlan(handover.OrderDrop)
	m.over(r)
}

// over answers when nothing is left of what went.
func (m *Monitor) over(r *reload) {
	if r.ending > 0 || m.reload != r {
		return
	}
	m.reload = nil
	r.answer(r.failed)
	m.loop.close(r.client)
	if r.elsewhere {
		m.narrowRoot()
	}
}
