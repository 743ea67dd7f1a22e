package supervisor

import (
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

// TestFreeze: a component that stands still misses no watchdog and no health
// check, keeps its worker, and is let go on by whatever asks it to end.
func TestFreeze(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Watchdog = time.Minute
		c.Life.Health = plan.Health{Kind: plan.HealthConnect, Interval: time.Second, Timeout: time.Second, Failures: 1}
	}))
	play(t, p, func(m *script) {
		m.refused(on(control.Freeze, "nobody"), "no component")
		m.did()
		m.ask(on(control.Freeze, "web"))
		m.ask(on(control.Freeze, "web"))
		m.expect("freeze web")
		m.change(func() { m.checks["web"] = 1000 })
		m.pass(time.Hour)
		m.expect()
		if c := m.component("web"); !c.Frozen || c.State != control.Running {
			t.Errorf("%+v", c)
		}
		m.change(func() { m.checks["web"] = 0 })
		m.ask(on(control.Thaw, "web"))
		m.expect("thaw web")
		m.pass(59 * time.Second)
		m.expect()
		m.pass(2 * time.Second)
		m.expect("SIGABRT web", "start web") // the watchdog is on again
		m.ask(on(control.Freeze, "web"))
		m.ask(on(control.Stop, "web"))
		m.expect("freeze web", "SIGTERM web", "thaw web")
		m.refused(on(control.Freeze, "web"), "only one that is up")
	})
}

// TestKillable: a killable component is killed where it has no connection, and
// asked where it has one.
func TestKillable(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Killable, c.Life.StopTimeout = true, 20*time.Second
	}))
	prepared(t, p, func(m *script) { m.deaf["web"] = true }, func(m *script) {
		m.did()
		m.ask(on(control.Restart, "web"))
		m.expect("retire web", "start web")
		m.change(func() { m.busy["web"] = true })
		m.ask(on(control.Stop, "web"))
		m.expect("SIGTERM web")
		m.pass(19 * time.Second)
		m.state("web", control.Stopping)
		m.pass(time.Second)
		m.expect("SIGKILL web")
		m.state("web", control.Stopped)
	})
}
