package supervisor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// TestRandomLives plays applications whose workers crash, exit, hang and are
// stopped, started, pinned and destroyed by hand at random, and whose
// monitor's news are sometimes late. Whatever happens: no component ever has
// two workers, no worker is forgotten, nobody starts or stops out of order, and
// once nobody disturbs any more everything that is wanted is up, or the
// application has ended.
func TestRandomLives(t *testing.T) {
	transitions := documented(t)
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 7)), transitions) })
	}
}

func randomPlan(r *rand.Rand) *plan.Plan {
	var components []plan.Component
	names := []string{"a", "b", "c", "d", "e", "f"}
	for i, name := range names {
		components = append(components, with(name, func(c *plan.Component) {
			for _, earlier := range names[:i] {
				switch r.IntN(6) {
				case 0:
					c.Life.After = append(c.Life.After, earlier)
				case 1:
					c.Life.AfterTried = append(c.Life.AfterTried, earlier)
				}
			}
			if r.IntN(3) == 0 {
				c.Life.Ready = plan.Ready{Kind: plan.ReadyNotify, Timeout: 2 * time.Second}
			}
			c.Life.Restart = plan.Restart(2 + r.IntN(2))
			c.Life.Delay = time.Duration(r.IntN(3)) * time.Second
			c.Life.DelayMaximum = 4 * time.Second
			c.Life.Killable = r.IntN(4) == 0
			if r.IntN(5) == 0 {
				c.Start = plan.OnDemand
			}
			if r.IntN(3) == 0 {
				tidied(c)
			}
		}))
	}
	p := application(components...)
	p.Supervision = plan.Group{
		Strategy: plan.Strategy(1 + r.IntN(3)), Restarts: 40, Within: time.Minute, Members: names[:3],
		Groups: []plan.Group{{
			Name: "inner", Strategy: plan.Strategy(1 + r.IntN(3)), Restarts: 5, Within: 10 * time.Second, Members: names[3:],
		}},
	}
	return p
}

// documented returns the transitions of the table in doc.go.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	states := " stopped starting started running failed stopping "
	table := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(states, " "+f[1]+" ") && strings.Contains(states, " "+f[2]+" ") {
			table[f[1]+" "+f[2]] = true
		}
	}
	return table
}

func randomLife(t *testing.T, r *rand.Rand, transitions map[string]bool) {
	p := randomPlan(r)
	verbs := []control.Verb{control.Start, control.Stop, control.Restart, control.Destroy, control.Release, control.Pin, control.Unpin, control.Freeze, control.Thaw}
	play(t, p, func(m *script) {
		for range 200 {
			if m.status >= 0 || t.Failed() {
				return
			}
			name := p.Components[r.IntN(len(p.Components))].Name
			m.late[p.Components[r.IntN(len(p.Components))].Name] = r.IntN(4) == 0
			m.deaf[p.Components[r.IntN(len(p.Components))].Name] = r.IntN(4) == 0
			worker, lives := m.workers[name], m.lives(name)
			switch n := r.IntN(12); {
			case n < 3 && lives:
				m.end(worker, wire.Signaled, uint32(unix.SIGSEGV))
			case n < 4 && lives:
				m.end(worker, wire.Exited, 0)
			case n < 5 && lives:
				m.end(worker, wire.Exited, 1)
			case n < 6 && r.IntN(4) == 0:
				m.lose(name)
			case n < 6 && lives:
				m.tell(workerSays{worker: worker, component: m.index(name), op: wire.Ready})
			case n < 7:
				m.come(name, runs)
			case n < 8:
				m.tell(demanded{m.index(name)})
			case n < 10:
				m.ask(control.Request{Verb: verbs[r.IntN(len(verbs))], Component: name, Up: r.IntN(2) == 0})
			default:
				m.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
			}
			m.check()
		}
		for _, e := range m.app.journal.last(journalLength, "") {
			if e.Kind == control.EventState && !transitions[string(e.From)+" "+string(e.To)] {
				t.Errorf("from %s to %s (%s) is not in the table of doc.go", e.From, e.To, e.Text)
			}
		}
		m.ordered()
		for i := range p.Components {
			m.late[p.Components[i].Name] = false
			m.come(p.Components[i].Name, runs)
			m.ask(on(control.Unpin, p.Components[i].Name))
			m.ask(on(control.Start, p.Components[i].Name))
		}
		for range 100 {
			for i := range p.Components {
				if name := p.Components[i].Name; m.status < 0 && m.lives(name) {
					m.tell(workerSays{worker: m.workers[name], component: uint32(i), op: wire.Ready})
				}
			}
			m.pass(time.Second)
		}
		m.pass(10 * time.Minute)
		m.check()
		for i := range p.Components {
			if m.status >= 0 {
				return
			}
			if c := m.component(p.Components[i].Name); c.State != control.Running {
				t.Errorf("%s is %s (%s) in the end", c.Name, c.State, c.Cause)
			}
		}
	})
}

// ordered looks whether everybody started behind those that it comes after, and
// stopped with the application before them, as far as the journal reaches back.
func (m *script) ordered() {
	m.t.Helper()
	states := make(map[string]control.State)
	for _, e := range m.app.journal.last(journalLength, "") {
		if e.Kind != control.EventState {
			continue
		}
		c := m.app.byName[e.Component]
		states[e.Component] = e.To
		for _, other := range c.after {
			is := states[other.plan.Name]
			if e.To == control.Starting && !slices.Contains([]control.State{"", control.Started, control.Running, control.Stopped}, is) {
				m.t.Errorf("%s starts while %s, which it comes after, is %s", e.Component, other.plan.Name, is)
			}
		}
		for _, other := range c.tried {
			is := states[other.plan.Name]
			if e.To == control.Starting && slices.Contains([]control.State{control.Starting, control.Stopping}, is) {
				m.t.Errorf("%s starts while %s, which it waits for, is %s", e.Component, other.plan.Name, is)
			}
		}
		for _, other := range c.before {
			is := states[other.plan.Name]
			if e.Text == "stops with the application" && slices.Contains([]control.State{control.Starting, control.Started, control.Running, control.Stopping}, is) {
				m.t.Errorf("%s stops with the application while %s, which comes after it, is %s", e.Component, other.plan.Name, is)
			}
		}
	}
}

// lives says whether the component's worker runs.
func (m *script) lives(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alive[m.workers[name]]
}

// lose kills the init of a component's compartment; the news of the workers
// come first, as from the monitor.
func (m *script) lose(name string) {
	m.mu.Lock()
	m.lost[name] = true
	m.mu.Unlock()
	m.come(name, func(e workerStarted) any {
		return workerFailed{worker: e.worker, component: e.component, errno: unix.ECANCELED, step: "run its program"}
	})
	if m.lives(name) {
		m.end(m.workers[name], wire.Signaled, uint32(unix.SIGKILL))
	}
	m.tell(compartmentLost{component: m.index(name), why: "its init was killed by SIGKILL"})
}

// check compares what the supervisor believes with what runs.
func (m *script) check() {
	m.t.Helper()
	running := make(map[string]int)
	m.mu.Lock()
	for worker := range m.alive {
		running[m.names[worker]]++
	}
	m.mu.Unlock()
	if m.status >= 0 {
		if len(running) > 0 {
			m.t.Errorf("ended, and %v run", running)
		}
		return
	}
	for i := range m.app.plan.Components {
		name := m.app.plan.Components[i].Name
		a := m.ask(control.Request{Verb: control.AskPS, Component: name})
		if running[name] > 1 || len(a.reply.Workers) != running[name] {
			m.t.Errorf("%s: %d workers run, %d are known", name, running[name], len(a.reply.Workers))
		}
	}
}
