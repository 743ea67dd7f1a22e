package supervisor

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

func onDemand(c *plan.Component) {
	c.Start = plan.OnDemand
	c.Life.Idle = time.Minute
}

// TestOnDemand: from the first connection to the end for being idle, and again.
func TestOnDemand(t *testing.T) {
	play(t, application(with("web", onDemand), with("base", nil)), func(m *script) {
		m.expect("watch web", "start base")
		m.state("web", control.Stopped)
		m.pass(time.Hour)
		m.expect()
		for range 3 {
			m.tell(demanded{0})
			m.expect("start web")
			m.change(func() { m.busy["web"] = true })
			m.pass(time.Hour)
			m.expect()
			m.change(func() { m.busy["web"] = false })
			m.pass(55 * time.Second)
			m.expect()
			m.pass(10 * time.Second)
			m.expect("retire web", "watch web")
			m.state("web", control.Stopped)
		}
		if c := m.component("web"); c.Restarts != 0 || c.Cause == "" {
			t.Errorf("%d restarts, cause %q", c.Restarts, c.Cause)
		}
	})
}

// TestOnDemandEnds: one that ends by itself is started by the next connection,
// not faster than its delay; one that fails is restarted; one that may not is
// left alone.
func TestOnDemandEnds(t *testing.T) {
	play(t, application(with("web", func(c *plan.Component) { onDemand(c); c.Life.Delay = time.Second; c.Life.DelayMaximum = time.Second })), func(m *script) {
		m.expect("watch web")
		m.tell(demanded{0})
		m.exit("web", 0)
		m.expect("start web")
		m.pass(999 * time.Millisecond)
		m.expect()
		m.pass(time.Millisecond)
		m.expect("watch web")
		m.tell(demanded{0})
		m.crash("web")
		m.expect("start web")
		m.pass(time.Second)
		m.expect("start web")
	})
	play(t, application(with("web", func(c *plan.Component) { onDemand(c); c.Life.Restart = plan.RestartNever }), with("base", nil)), func(m *script) {
		m.tell(demanded{0})
		m.crash("web")
		m.pass(time.Hour)
		m.expect("watch web", "start base", "start web")
		m.state("web", control.Failed)
	})
}

// TestOnDemandOperated: who is taken down stays down, whoever connects.
func TestOnDemandOperated(t *testing.T) {
	play(t, application(with("web", onDemand)), func(m *script) {
		m.expect("watch web")
		m.ask(control.Request{Verb: control.Stop, Component: "web"})
		m.tell(demanded{0})
		m.pass(time.Hour)
		m.expect()
		m.ask(control.Request{Verb: control.Start, Component: "web"})
		m.expect("start web")
		m.ask(control.Request{Verb: control.Pin, Component: "web", Up: true})
		m.pass(time.Hour)
		m.expect()
		m.ask(control.Request{Verb: control.Unpin, Component: "web"})
		m.pass(time.Minute)
		m.expect("retire web", "watch web")
	})
}

// TestOnDemandFails: a program that cannot be executed is not tried for ever.
func TestOnDemandFails(t *testing.T) {
	prepared(t, application(with("web", onDemand), with("base", nil)), func(m *script) { m.refuse["web"] = unix.ENOENT }, func(m *script) {
		m.tell(demanded{0})
		m.ends(statusNotFound)
	})
}
