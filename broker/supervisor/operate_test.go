package supervisor

import (
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

func on(verb control.Verb, name string) control.Request {
	return control.Request{Verb: verb, Component: name}
}

func TestStopAndStart(t *testing.T) {
	play(t, application(with("web", after("db")), with("db", nil)), func(m *script) {
		m.did()
		m.ask(on(control.Stop, "web"))
		m.ask(on(control.Stop, "db"))
		m.expect("SIGTERM web", "SIGTERM db")
		m.pass(time.Hour)
		m.expect() // down by hand is no end of the application
		m.state("db", control.Stopped)
		m.ask(on(control.Start, "web")) // and what it comes after
		m.expect("start db", "start web")
	})
}

func TestRestartByHand(t *testing.T) {
	p := application(with("web", after("db")), with("db", nil))
	p.Supervision.Restarts = 0
	play(t, p, func(m *script) {
		m.did()
		m.ask(on(control.Restart, "db"))
		m.expect("SIGTERM db", "start db") // counts in no limit, and web runs on
		m.ask(on(control.Restart, "db"))
		m.expect("SIGTERM db", "start db")
		m.state("web", control.Started)
	})
}

// TestRestartWhileWaiting: a restart that is asked for while one is due
// anyway gives one worker, not two.
func TestRestartWhileWaiting(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Delay, c.Life.DelayMaximum = time.Minute, time.Minute }))
	play(t, p, func(m *script) {
		m.did()
		m.crash("web")
		if at := m.component("web").RestartAt; at == nil || time.Until(*at) != time.Minute {
			t.Errorf("restarts at %v", at)
		}
		m.ask(on(control.Restart, "web"))
		m.expect("start web")
		m.pass(time.Hour)
		m.expect()
	})
}

func TestRelease(t *testing.T) {
	play(t, application(with("web", after("db")), with("db", nil)), func(m *script) {
		m.did()
		m.ask(on(control.Release, "db"))
		m.pass(time.Minute)
		m.expect() // web needs it
		m.ask(on(control.Stop, "web"))
		m.expect("SIGTERM web", "SIGTERM db")
	})
}

func TestPin(t *testing.T) {
	p := application(with("web", nil), with("db", nil))
	p.Supervision.Strategy = plan.OneForAll
	play(t, p, func(m *script) {
		m.did()
		m.ask(control.Request{Verb: control.Pin, Component: "web", Up: true})
		m.refused(on(control.Stop, "web"), "component web is pinned up")
		m.crash("db")
		m.pass(time.Second)
		m.expect("start db") // the strategy leaves web alone
		m.ask(on(control.Unpin, "web"))
		m.ask(control.Request{Verb: control.Pin, Component: "web"})
		m.expect("SIGTERM web")
		m.refused(on(control.Start, "web"), "component web is pinned down")
		m.ask(on(control.Unpin, "web"))
		m.ask(on(control.Start, "web"))
		m.expect("start web")
	})
}

// TestDestroy: a component that hangs while it starts or stops goes at once.
func TestDestroy(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Ready.Kind, c.Life.StopTimeout = plan.ReadyNotify, time.Hour
	}))
	prepared(t, p, func(m *script) { m.deaf["web"] = true }, func(m *script) {
		m.did()
		m.ask(on(control.Destroy, "web"))
		m.expect("SIGKILL web")
		m.state("web", control.Stopped)
		m.ask(on(control.Start, "web"))
		m.ask(on(control.Stop, "web"))
		m.expect("start web", "SIGTERM web")
		m.ask(on(control.Destroy, "web"))
		m.expect("SIGKILL web")
		m.state("web", control.Stopped)
	})
}

// TestDestroyDuringStart: a worker that is about to start when its component is
// destroyed is killed as soon as it is there, not asked.
func TestDestroyDuringStart(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.StopTimeout = time.Hour }))
	prepared(t, p, func(m *script) { m.late["web"] = true }, func(m *script) {
		m.ask(on(control.Destroy, "web"))
		m.state("web", control.Stopping)
		m.come("web", runs)
		m.expect("start web", "SIGKILL web")
		m.state("web", control.Stopped)
	})
}

func TestSignalAndReload(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.ReloadSignal = 1 }), with("db", nil))
	prepared(t, p, func(m *script) { m.deaf["web"] = true }, func(m *script) {
		m.did()
		m.ask(control.Request{Verb: control.Signal, Component: "web", Signal: 10})
		m.ask(on(control.Reload, "web"))
		m.expect("SIGUSR1 web", "SIGHUP web")
		m.refused(on(control.Reload, "db"), "no reload-signal")
		m.refused(on(control.Stop, "cache"), `no component "cache"`)
	})
}

func TestHoldOfRequests(t *testing.T) {
	p := application(with("web", nil), with("decode", func(c *plan.Component) { c.Start = plan.PerRequest }))
	prepared(t, p, func(m *script) { m.deaf["decode"] = true }, func(m *script) {
		m.names[100] = "decode"
		m.tell(workerStarted{worker: 100, component: 1, pid: 1, by: m.workers["web"]})
		m.did()
		m.ask(on(control.Stop, "decode"))
		m.pass(time.Second)
		m.expect("68 decode", "SIGTERM decode", "SIGKILL decode")
		m.refused(on(control.Restart, "decode"), "its workers start for each request")
	})
}

func TestWaits(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify }))
	prepared(t, p, func(m *script) { m.deaf["web"] = true }, func(m *script) {
		a := m.ask(control.Request{Verb: control.Start, Component: "web", Wait: true})
		if a.waiter == nil || len(a.waiter.reply) != 0 {
			t.Fatalf("answer %+v", a)
		}
		m.tell(workerSays{worker: 1, component: 0, op: wire.Ready})
		if r := <-a.waiter.reply; !r.Done {
			t.Errorf("reply %+v", r)
		}
		a = m.ask(control.Request{Verb: control.Restart, Component: "web", Wait: true})
		b := m.ask(control.Request{Verb: control.Restart, Component: "web", Wait: true})
		m.tell(forget{b.waiter})
		m.pass(time.Second) // it is killed and starts again
		m.exit("web", 1)    // before it is ready
		if r := <-a.waiter.reply; r.Error != "component web is failed: exited with status 1" {
			t.Errorf("reply %+v", r)
		}
		if len(m.app.waiters) != 0 || len(b.waiter.reply) != 0 {
			t.Error("a waiter that was forgotten is answered")
		}
	})
}

// TestWaitsForWhatCannotCome: who waits for a component that will not start hears
// why, and who waits for a task hears that it is done.
func TestWaitsForWhatCannotCome(t *testing.T) {
	p := application(with("web", after("cache")), with("cache", after("db")), with("other", nil), with("db", func(c *plan.Component) {
		c.Life.Ready.Kind, c.Life.Restart = plan.ReadyNotify, plan.RestartNever
	}))
	play(t, p, func(m *script) {
		a := m.ask(control.Request{Verb: control.Start, Component: "web", Wait: true})
		m.exit("db", 3)
		if r := <-a.waiter.reply; r.Error != "component web does not start: it comes after db, which is failed: exited with status 3" {
			t.Errorf("reply %+v", r)
		}
		a = m.ask(control.Request{Verb: control.Start, Component: "db", Wait: true})
		m.exit("db", 0)
		if r := <-a.waiter.reply; !r.Done {
			t.Errorf("reply %+v", r)
		}
		m.state("web", control.Started)
	})
}

// TestStopOvertaken: who waits for a stop hears of it also where somebody else has
// started the component again by then.
func TestStopOvertaken(t *testing.T) {
	prepared(t, application(with("web", nil)), func(m *script) { m.deaf["web"] = true }, func(m *script) {
		stop := m.ask(control.Request{Verb: control.Stop, Component: "web", Wait: true})
		start := m.ask(control.Request{Verb: control.Start, Component: "web", Wait: true})
		m.pass(time.Second)
		m.expect("start web", "SIGTERM web", "SIGKILL web", "start web")
		if r := <-stop.waiter.reply; !r.Done {
			t.Errorf("reply %+v to the stop", r)
		}
		if r := <-start.waiter.reply; !r.Done {
			t.Errorf("reply %+v to the start", r)
		}
	})
}

func TestShutdownByControl(t *testing.T) {
	prepared(t, application(with("web", nil)), func(m *script) { m.deaf["web"] = true }, func(m *script) {
		a := m.ask(control.Request{Verb: control.Shutdown, Wait: true})
		m.refused(on(control.Start, "web"), "stopping")
		m.pass(time.Second)
		if r := <-a.waiter.reply; !r.Done {
			t.Errorf("reply %+v", r)
		}
		m.ends(0)
	})
}
