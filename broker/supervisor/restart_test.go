package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

// TestRestartPolicies is the table of restart policy by kind of end.
func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		restart plan.Restart
		crash   bool
		again   bool
		state   control.State // of one that does not start again
	}{
		{plan.RestartNever, false, false, control.Stopped},
		{plan.RestartNever, true, false, control.Failed},
		{plan.RestartOnFailure, false, false, control.Stopped},
		{plan.RestartOnFailure, true, true, ""},
		{plan.RestartAlways, false, true, ""},
		{plan.RestartAlways, true, true, ""},
	} {
		t.Run(fmt.Sprintf("policy %d, crash %v", c.restart, c.crash), func(t *testing.T) {
			p := application(with("web", func(p *plan.Component) { p.Life.Restart = c.restart }), with("other", nil))
			play(t, p, func(m *script) {
				m.did()
				if c.crash {
					m.crash("web")
				} else {
					m.exit("web", 0)
				}
				m.pass(time.Second)
				if c.again {
					m.expect("start web")
					m.state("web", control.Started)
				} else {
					m.expect()
					m.state("web", c.state)
				}
				m.state("other", control.Started)
			})
		})
	}
}

// tree is: a, b, c of the root and a group of d, e in it.
func tree(root, inner plan.Strategy) *plan.Plan {
	p := application(with("a", nil), with("b", nil), with("c", nil), with("d", nil), with("e", nil))
	p.Supervision.Strategy = root
	p.Supervision.Members = []string{"a", "b", "c"}
	p.Supervision.Groups = []plan.Group{{
		Name: "inner", Strategy: inner, Restarts: 2, Within: 10 * time.Second, Members: []string{"d", "e"},
	}}
	return p
}

// TestStrategies compares who restarts with what the strategies of OTP say.
func TestStrategies(t *testing.T) {
	for _, c := range []struct {
		root, inner plan.Strategy
		crash       string
		restart     string // sorted
	}{
		{plan.OneForOne, plan.OneForOne, "a", "a"},
		{plan.OneForOne, plan.OneForOne, "d", "d"},
		{plan.OneForAll, plan.OneForOne, "b", "a b c d e"},
		{plan.RestForOne, plan.OneForOne, "a", "a b c d e"},
		{plan.RestForOne, plan.OneForOne, "b", "b c d e"},
		{plan.RestForOne, plan.OneForOne, "c", "c d e"},
		{plan.RestForOne, plan.OneForOne, "d", "d"},
		{plan.OneForAll, plan.OneForAll, "d", "d e"},
		{plan.OneForAll, plan.RestForOne, "d", "d e"},
		{plan.OneForAll, plan.RestForOne, "e", "e"},
	} {
		name := fmt.Sprintf("%s over %s, %s crashes", strategyName(c.root), strategyName(c.inner), c.crash)
		t.Run(name, func(t *testing.T) {
			play(t, tree(c.root, c.inner), func(m *script) {
				m.did()
				m.crash(c.crash)
				m.pass(time.Second)
				var started, stopped []string
				for _, did := range m.did() {
					if name, ok := strings.CutPrefix(did, "start "); ok {
						started = append(started, name)
					} else if name, ok := strings.CutPrefix(did, "SIGTERM "); ok {
						stopped = append(stopped, name)
						if len(started) > 0 {
							t.Errorf("%s stopped after %q started", name, started)
						}
					} else {
						t.Errorf("did %s", did)
					}
				}
				slices.Sort(started)
				if got := strings.Join(started, " "); got != c.restart {
					t.Errorf("%s restarted, want %s", got, c.restart)
				}
				if len(stopped) != len(started)-1 || slices.Contains(stopped, c.crash) {
					t.Errorf("%q were stopped", stopped)
				}
				for _, name := range []string{"a", "b", "c", "d", "e"} {
					m.state(name, control.Started)
				}
			})
		})
	}
}

// TestGroupGoesDownInReverseAndUpInOrder is the order of a group's restart.
func TestGroupGoesDownInReverseAndUpInOrder(t *testing.T) {
	p := application(
		with("a", nil),
		with("b", func(c *plan.Component) { c.Life.After = []string{"a"} }),
		with("c", func(c *plan.Component) { c.Life.After = []string{"b"} }),
	)
	p.Supervision.Strategy = plan.OneForAll
	prepared(t, p, func(m *script) { m.deaf["b"] = true }, func(m *script) {
		m.expect("start a", "start b", "start c")
		m.pass(time.Hour)
		m.crash("c")
		m.expect("SIGTERM b")
		m.pass(time.Second)
		m.expect("SIGKILL b", "SIGTERM a", "start a", "start b", "start c")
	})
}

func TestLimitEscalates(t *testing.T) {
	play(t, tree(plan.OneForOne, plan.OneForOne), func(m *script) {
		m.did()
		for range 2 {
			m.crash("d")
			m.pass(time.Second)
		}
		m.expect("start d", "start d")
		m.crash("d") // one too many for the inner group, one for the root
		m.pass(time.Second)
		m.expect("SIGTERM e", "start d", "start e")
		m.noted("group inner: more than 2 restarts within 10s")
		m.state("a", control.Started)
		if m.status >= 0 {
			t.Error("the application ended")
		}
		// The inner group is within its limit again, until the root's is reached.
		for range 40 {
			if m.status >= 0 {
				break
			}
			m.crash("d")
			m.pass(100 * time.Millisecond)
		}
		m.ends(128 + int(unix.SIGSEGV))
		m.noted("application test: more than 5 restarts within 10s")
		m.noted("gives up: component d failed too often, last: killed by SIGSEGV")
	})
}

func TestLimitForgets(t *testing.T) {
	p := application(with("web", nil))
	p.Supervision.Restarts = 1
	play(t, p, func(m *script) {
		for range 10 {
			m.crash("web")
			m.pass(11 * time.Second)
			m.state("web", control.Running)
		}
		m.crash("web")
		m.pass(time.Second)
		m.crash("web")
		m.ends(128 + int(unix.SIGSEGV))
	})
}

// TestGiveUpIsNeverSuccess: a program that should stay and exits with 0.
func TestGiveUpIsNeverSuccess(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Restart = plan.RestartAlways }))
	p.Supervision.Restarts = 0
	play(t, p, func(m *script) {
		m.exit("web", 0)
		m.ends(statusBroken)
	})
}

func TestBackoff(t *testing.T) {
	b := backoff{first: 100 * time.Millisecond, maximum: time.Second}
	for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if got := b.next(0, 0); got != want*time.Millisecond {
			t.Errorf("failure %d: %s", i, got)
		}
	}
	if got := b.next(0, 0.99); got >= time.Second || got < 750*time.Millisecond {
		t.Errorf("jitter at the maximum: %s", got)
	}
	first := backoff{first: 100 * time.Millisecond, maximum: time.Second}
	if got := first.next(0, 0.99); got <= 100*time.Millisecond || got > 125*time.Millisecond {
		t.Errorf("jitter: %s", got)
	}
	only := backoff{first: time.Hour, maximum: time.Hour}
	if got := only.next(0, 0.99); got != time.Hour {
		t.Errorf("with one delay: %s", got)
	}
	if got := b.next(300*time.Millisecond, 0); got != 700*time.Millisecond {
		t.Errorf("after a run of 300 ms: %s", got)
	}
	b.reset()
	if got := b.next(time.Minute, 0.99); got != 0 {
		t.Errorf("after a long run: %s", got)
	}
	if b.failures = 1 << 20; b.next(0, 0) != time.Second {
		t.Error("a long history overflows")
	}
}

// TestBackoffIsForgotten: what ran for long enough starts from the first
// delay again.
func TestBackoffIsForgotten(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Delay, c.Life.DelayMaximum = time.Second, time.Minute
	}))
	p.Supervision.Restarts = 100
	play(t, p, func(m *script) {
		for _, delay := range []time.Duration{1, 2, 4, 8} {
			m.crash("web")
			m.pass(delay*time.Second - time.Millisecond)
			m.state("web", control.Failed)
			m.pass(time.Millisecond)
			m.state("web", control.Started)
		}
		m.pass(10 * time.Second)
		m.state("web", control.Running)
		m.crash("web") // ran longer than the delay: at once
		m.state("web", control.Started)
		m.crash("web") // at once again, so now the delay is that of the second failure
		m.pass(1900 * time.Millisecond)
		m.state("web", control.Failed)
		m.pass(200 * time.Millisecond)
		m.state("web", control.Started)
	})
}

func TestCrashLoopIsBounded(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Restart = plan.RestartAlways
		c.Life.Delay, c.Life.DelayMaximum = time.Second, time.Second
	}))
	p.Supervision.Restarts = 1000
	play(t, p, func(m *script) {
		m.did()
		for range 600 {
			m.exit("web", 0)
			m.pass(100 * time.Millisecond)
		}
		if starts := len(m.did()); starts < 50 || starts > 60 {
			t.Errorf("%d starts in a minute", starts)
		}
	})
}

// TestManyRestarts: ten thousand restarts leave nothing behind.
func TestManyRestarts(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Delay = 0 }), with("db", nil))
	p.Supervision.Strategy, p.Supervision.Restarts, p.Supervision.Within = plan.OneForAll, 5, time.Second
	play(t, p, func(m *script) {
		for range 10_000 {
			m.crash("web")
			m.pass(time.Second)
			m.did()
		}
		if c := m.component("web"); c.Restarts != 10_000 || c.State != control.Started {
			t.Errorf("%d restarts, %s", c.Restarts, c.State)
		}
		a := m.app
		if len(a.workers) != 2 || len(a.replies) != 0 || len(a.root.restarts) > 6 || len(a.components[0].with) > 2 {
			t.Errorf("%d workers, %d replies, %d restarts, %d with", len(a.workers), len(a.replies), len(a.root.restarts), len(a.components[0].with))
		}
	})
}
