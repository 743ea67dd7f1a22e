package supervisor

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

func after(names ...string) func(*plan.Component) {
	return func(c *plan.Component) { c.Life.After = names }
}

func afterTried(names ...string) func(*plan.Component) {
	return func(c *plan.Component) { c.Life.AfterTried = names }
}

func TestDependantsWaitForReady(t *testing.T) {
	p := application(
		with("web", after("db")),
		with("db", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify }),
		with("alone", nil),
	)
	play(t, p, func(m *script) {
		m.expect("start db", "start alone") // nothing orders these two
		m.pass(time.Second)
		m.state("db", control.Starting)
		if waits := m.component("web").WaitsFor; !slices.Equal(waits, []string{"db"}) {
			t.Errorf("web waits for %q", waits)
		}
		m.tell(workerSays{worker: m.workers["db"], component: 1, op: wire.Ready})
		m.expect("start web")
		m.state("web", control.Started)
		m.stop()
		m.expect("SIGTERM web", "SIGTERM alone", "SIGTERM db")
		m.ends(0)
	})
}

// TestReadyBeforeStarted: the word of a worker overtakes the monitor's.
func TestReadyBeforeStarted(t *testing.T) {
	p := application(with("db", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify }))
	prepared(t, p, func(m *script) { m.hung["db"] = true }, func(m *script) {
		m.tell(workerSays{worker: 1, component: 0, op: wire.Ready})
		m.state("db", control.Starting)
		m.names[1], m.workers["db"] = "db", 1
		m.tell(workerStarted{worker: 1, component: 0, pid: 1})
		m.state("db", control.Started)
	})
}

// TestReadyOfAnother: what a worker that has ended said last does not make the
// next one ready.
func TestReadyOfAnother(t *testing.T) {
	p := application(with("db", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify }))
	play(t, p, func(m *script) {
		m.late["db"] = true
		m.crash("db")
		m.pass(time.Second)
		m.tell(workerSays{worker: 1, component: 0, op: wire.Ready})
		m.come("db", runs)
		m.state("db", control.Starting)
		m.tell(workerSays{worker: 2, component: 0, op: wire.Ready})
		m.state("db", control.Started)
	})
}

// TestNeverReady: who comes after a component that never gets ready does not
// start, and it itself is restarted until it is too much.
func TestNeverReady(t *testing.T) {
	p := application(with("web", after("db")), with("db", func(c *plan.Component) {
		c.Life.Ready = plan.Ready{Kind: plan.ReadyNotify, Timeout: 3 * time.Second}
	}))
	p.Supervision.Restarts = 1
	play(t, p, func(m *script) {
		m.pass(3 * time.Second)
		m.expect("start db", "SIGTERM db", "start db")
		m.noted("component db: was not ready within 3s: it has not sent READY=1 to NOTIFY_SOCKET; restarts")
		m.pass(4 * time.Second)
		m.ends(128 + int(unix.SIGTERM))
		m.expect("SIGTERM db")
		m.noted("gives up: component db failed too often, last: was not ready within 3s: it has not sent READY=1 to NOTIFY_SOCKET")
	})
}

// TestTriedIsWaitedFor: who comes after a component that need only be tried waits
// as long as it may become ready, and stops before it.
func TestTriedIsWaitedFor(t *testing.T) {
	p := application(with("web", afterTried("cache")), with("cache", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify }))
	play(t, p, func(m *script) {
		m.expect("start cache")
		m.pass(time.Second)
		if waits := m.component("web").WaitsFor; !slices.Equal(waits, []string{"cache"}) {
			t.Errorf("web waits for %q", waits)
		}
		m.tell(workerSays{worker: m.workers["cache"], component: 1, op: wire.Ready})
		m.expect("start web")
		m.stop()
		m.expect("SIGTERM web", "SIGTERM cache")
		m.ends(0)
	})
}

// TestTriedMayFail: it starts without a component that fails before it is ready,
// ends for good, is not ready in time, waits for one that fails, or was taken down; and
// the life of that one is its own further on.
func TestTriedMayFail(t *testing.T) {
	slow := func(c *plan.Component) {
		c.Life = plan.Life{Ready: plan.Ready{Kind: plan.ReadyNotify, Timeout: 3 * time.Second}, Restart: plan.RestartOnFailure,
			Delay: time.Hour, DelayMaximum: time.Hour, StopSignal: int32(unix.SIGTERM), StopTimeout: time.Second}
	}
	never := func(c *plan.Component) { slow(c); c.Life.Restart = plan.RestartNever }
	for name, c := range map[string]struct {
		cache func(*plan.Component)
		fails func(*script)
		asked []string
	}{
		"fails":         {slow, func(m *script) { m.crash("cache") }, nil},
		"ends for good": {never, func(m *script) { m.crash("cache") }, nil},
		"is late":       {slow, func(m *script) { m.pass(3 * time.Second) }, []string{"SIGTERM cache"}},
		"is taken down": {slow, func(m *script) { m.ask(control.Request{Verb: control.Stop, Component: "cache"}) }, []string{"SIGTERM cache"}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, application(with("web", afterTried("cache")), with("cache", c.cache)), func(m *script) {
				m.expect("start cache")
				c.fails(m)
				m.expect(append(c.asked, "start web")...)
				m.pass(time.Minute)
				m.state("web", control.Running)
				m.expect()
			})
		})
	}
	t.Run("waits for one that fails", func(t *testing.T) {
		between := func(c *plan.Component) { c.Life.After = []string{"store"} }
		play(t, application(with("web", afterTried("cache")), with("cache", between), with("store", slow)), func(m *script) {
			m.expect("start store")
			m.crash("store")
			m.expect("start web")
			m.state("cache", control.Stopped)
			m.pass(time.Hour)
			m.expect("start store")
			m.tell(workerSays{worker: m.workers["store"], component: 2, op: wire.Ready})
			m.expect("start cache")
		})
	})
}

// TestRestartOfDependency: dependants of what restarts are left alone, and
// one that waited for it is started when it is back.
func TestRestartOfDependency(t *testing.T) {
	slow := func(c *plan.Component) { c.Life.Delay, c.Life.DelayMaximum = time.Hour, time.Hour }
	play(t, application(with("web", after("db")), with("db", slow)), func(m *script) {
		m.did()
		m.crash("db")
		m.pass(time.Minute)
		m.state("db", control.Failed)
		m.state("web", control.Running)
		m.crash("web")
		m.pass(time.Minute)
		m.state("web", control.Failed)
		m.pass(time.Hour)
		m.expect("start db", "start web")
	})
}

// TestTaskIsDone: a task that ended with status 0 serves those after it.
func TestTaskIsDone(t *testing.T) {
	p := application(with("web", after("migrate")), with("migrate", func(c *plan.Component) {
		c.Life.Ready.Kind = plan.ReadyNotify
	}))
	play(t, p, func(m *script) {
		m.expect("start migrate")
		m.exit("migrate", 0)
		m.expect("start web")
		m.crash("web")
		m.pass(time.Second)
		m.expect("start web")
	})
}

func TestEverythingHasEnded(t *testing.T) {
	for _, c := range []struct{ code, status int }{{0, 0}, {3, 3}} {
		p := application(
			with("one", func(c *plan.Component) { c.Life.Restart = plan.RestartNever }),
			with("two", func(c *plan.Component) { c.Life.Restart = plan.RestartNever }),
			with("waits", func(p *plan.Component) { p.Life.After = []string{"never"} }),
			with("never", func(c *plan.Component) {
				c.Life.Ready.Kind, c.Life.Restart = plan.ReadyNotify, plan.RestartNever
			}),
		)
		play(t, p, func(m *script) {
			m.exit("one", uint32(c.code))
			m.exit("never", 9)
			if m.status >= 0 {
				t.Error("ended although two runs")
			}
			m.exit("two", 0)
			want := c.status
			if want == 0 {
				want = 9
			}
			m.ends(want)
		})
	}
}

func TestStopTimeout(t *testing.T) {
	prepared(t, application(with("web", after("db")), with("db", nil)),
		func(m *script) { m.deaf["web"] = true },
		func(m *script) {
			m.did()
			m.stop()
			m.expect("SIGTERM web")
			m.state("web", control.Stopping)
			m.pass(999 * time.Millisecond)
			m.expect()
			m.pass(time.Millisecond)
			m.expect("SIGKILL web", "SIGTERM db")
			m.ends(0)
			m.noted("component web: stopped: killed: it did not stop within 1s")
		})
}

func TestSecondStopKillsAll(t *testing.T) {
	prepared(t, application(with("web", after("db")), with("db", nil)),
		func(m *script) { m.deaf["web"], m.deaf["db"] = true, true },
		func(m *script) {
			m.did()
			m.stop()
			m.stop() // an echo
			m.expect("SIGTERM web")
			m.pass(stopEcho)
			m.stop()
			got := m.did()
			slices.Sort(got)
			if want := []string{"SIGKILL db", "SIGKILL web"}; !slices.Equal(got, want) {
				t.Errorf("asked %q", got)
			}
			if m.ends(0); t.Failed() {
				t.Log(m.notes.String())
			}
		})
}

// TestStopDuringStart: a worker that is about to start when everything stops
// is ended as soon as it is there.
func TestStopDuringStart(t *testing.T) {
	prepared(t, application(with("web", nil)), func(m *script) { m.hung["web"] = true }, func(m *script) {
		m.did()
		m.stop()
		m.state("web", control.Stopping)
		m.names[1] = "web"
		m.tell(workerStarted{worker: 1, component: 0, pid: 1})
		m.expect("SIGTERM web")
		m.ends(0)
	})
}

// TestHungStart: a start that the monitor never answers delays nobody, and
// the end of the application only for a bounded time.
func TestHungStart(t *testing.T) {
	prepared(t, application(with("hung", nil), with("web", nil)), func(m *script) { m.hung["hung"] = true }, func(m *script) {
		m.state("hung", control.Starting)
		m.state("web", control.Started)
		m.stop()
		m.pass(30 * time.Second)
		m.ends(0)
	})
}

func TestStartFails(t *testing.T) {
	for _, c := range []struct {
		errno  unix.Errno
		status int
	}{{unix.ENOENT, 127}, {unix.EACCES, 126}, {unix.ENOEXEC, 126}, {unix.EINVAL, 125}} {
		prepared(t, application(with("web", nil), with("db", nil)),
			func(m *script) { m.refuse["web"] = c.errno },
			func(m *script) {
				m.ends(c.status)
				m.expect("start web", "start db", "SIGTERM db") // undone
				m.noted("component web: cannot start: execute the program: " + c.errno.Error())
			})
	}
}

func TestEssential(t *testing.T) {
	essential := func(restart plan.Restart) func(*plan.Component) {
		return func(c *plan.Component) { c.Life.Essential, c.Life.Restart = true, restart }
	}
	for _, c := range []struct {
		name    string
		restart plan.Restart
		end     func(m *script)
		status  int
	}{
		{"exits with 0", plan.RestartOnFailure, func(m *script) { m.exit("main", 0) }, 0},
		{"exits with 7", plan.RestartNever, func(m *script) { m.exit("main", 7) }, 7},
		{"is killed", plan.RestartNever, func(m *script) { m.crash("main") }, 139},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, application(with("main", essential(c.restart)), with("side", nil)), func(m *script) {
				m.did()
				c.end(m)
				m.ends(c.status)
				m.expect("SIGTERM side")
			})
		})
	}
	t.Run("restarts first", func(t *testing.T) {
		play(t, application(with("main", essential(plan.RestartOnFailure))), func(m *script) {
			m.crash("main")
			m.pass(time.Second)
			m.state("main", control.Started)
		})
	})
}

func TestWatchdog(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Watchdog = time.Second }))
	play(t, p, func(m *script) {
		m.did()
		for range 5 {
			m.pass(900 * time.Millisecond)
			m.tell(workerSays{worker: m.workers["web"], component: 0, op: wire.Watchdog})
		}
		m.expect()
		m.pass(time.Second)
		m.expect("SIGABRT web", "start web")
		m.noted("its watchdog heard nothing for 1s; restarts at once")
	})
}

// TestWatchdogTriggered: a program that knows that it is broken need not wait to
// be found out.
func TestWatchdogTriggered(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Watchdog = time.Hour }), with("db", nil))
	play(t, p, func(m *script) {
		m.did()
		m.tell(workerSays{worker: m.workers["db"], component: 1, op: wire.Watchdog, text: "trigger"}) // it has none
		m.tell(workerSays{worker: m.workers["web"], component: 0, op: wire.Watchdog, text: "trigger"})
		m.pass(time.Second)
		m.expect("SIGABRT web", "start web")
		m.noted("component web: it has triggered its watchdog; restarts")
	})
}

// TestWatchdogUnheard: a broker that stood still while a component spoke does not
// end it for its silence.
func TestWatchdogUnheard(t *testing.T) {
	p := application(with("web", func(c *plan.Component) { c.Life.Watchdog = time.Second }))
	play(t, p, func(m *script) {
		m.did()
		m.change(func() { m.stopped = 5 * time.Second })
		m.pass(time.Second)
		m.change(func() { m.stopped = 0 })
		m.pass(5*time.Second - time.Millisecond)
		m.expect()
		m.pass(time.Millisecond)
		m.tell(workerSays{worker: m.workers["web"], component: 0, op: wire.Watchdog}) // said long ago
		m.expect()
		m.pass(time.Second) // and no more
		m.expect("SIGABRT web", "start web")
	})
}

func TestProbe(t *testing.T) {
	p := application(with("web", func(c *plan.Component) {
		c.Life.Ready = plan.Ready{Kind: plan.ReadyConnect, Timeout: time.Minute}
	}))
	prepared(t, p, func(m *script) { m.probes["web"] = 4 }, func(m *script) {
		m.state("web", control.Starting)
		m.pass(149 * time.Millisecond) // 10 + 20 + 40 + 80 ms
		m.state("web", control.Starting)
		m.pass(time.Millisecond)
		m.state("web", control.Started)
	})
}

func TestCompartmentLost(t *testing.T) {
	play(t, application(with("web", nil), with("decode", func(c *plan.Component) { c.Start = plan.PerRequest })), func(m *script) {
		m.did()
		m.tell(compartmentLost{component: 0, why: "its init was killed by SIGKILL"})
		m.pass(time.Second)
		m.expect("rebuild web", "start web")
		m.noted("its compartment was lost: its init was killed by SIGKILL; restarts")
		m.tell(compartmentLost{component: 1, why: "its init was killed by SIGKILL"})
		m.expect("rebuild decode")
	})
}

// TestCompartmentCannotBeBuilt: what is built for workers that others start is
// tried again until it is there, or the application stops.
func TestCompartmentCannotBeBuilt(t *testing.T) {
	play(t, application(with("web", nil), with("decode", func(c *plan.Component) { c.Start = plan.PerRequest })), func(m *script) {
		m.did()
		m.unbuilt["decode"] = 3
		m.tell(compartmentLost{component: 1, why: "its init was killed by SIGKILL"})
		m.expect("rebuild decode")
		m.noted("its compartment cannot be built again: too many open files; another try in 200ms")
		m.pass(200 * time.Millisecond)
		m.expect("rebuild decode")
		m.pass(400 * time.Millisecond)
		m.expect("rebuild decode")
		m.noted("another try in 800ms")
		m.pass(time.Hour)
		m.expect("rebuild decode")
		m.unbuilt["decode"] = 9
		m.tell(compartmentLost{component: 1, why: "its init was killed by SIGKILL"})
		m.expect("rebuild decode")
		m.stop()
		m.pass(time.Hour)
		if did := strings.Join(m.log, ", "); strings.Contains(did, "rebuild") {
			t.Errorf("while it stopped it did %s", did)
		}
	})
}

// TestCompartmentLostUnderway: the news that the compartment is lost comes
// after the worker's end and a request for the next, and costs no failure.
func TestCompartmentLostUnderway(t *testing.T) {
	play(t, application(with("web", nil)), func(m *script) {
		m.pass(time.Minute)
		m.did()
		m.lost["web"] = true
		m.mu.Lock() // no answer comes between the two
		m.app.post(workerEnded{worker: m.workers["web"], component: 0, how: wire.Signaled, code: 9})
		m.app.post(compartmentLost{component: 0, why: "its init was killed by SIGKILL"})
		m.mu.Unlock()
		synctest.Wait()
		m.expect("start web", "rebuild web", "start web")
		if c := m.component("web"); c.State != control.Started || c.Restarts != 1 {
			t.Errorf("%s after %d restarts", c.State, c.Restarts)
		}
	})
}

// TestWorkersOfRequests: workers that others asked for end after them.
func TestWorkersOfRequests(t *testing.T) {
	p := application(
		with("web", nil),
		with("decode", func(c *plan.Component) { c.Start = plan.PerRequest }),
		with("talk", func(c *plan.Component) { c.Start = plan.PerConnection }),
	)
	play(t, p, func(m *script) {
		m.did()
		web := m.workers["web"]
		for worker, name := range map[uint32]string{101: "decode", 102: "decode", 103: "talk"} {
			m.names[worker] = name
			by := web
			if name == "talk" {
				by = 0
			}
			m.tell(workerStarted{worker: worker, component: m.index(name), pid: worker, by: by})
		}
		if c := m.component("decode"); c.Running != 2 || c.Total != 2 || len(c.Workers) != 2 || c.Workers[0].For != web || c.State != control.Running {
			t.Errorf("decode: %+v", c)
		}
		m.tell(workerEnded{worker: 101, component: 1, how: wire.Signaled, code: 9, peak: 64 << 20, reason: "memory limit of 64M reached"})
		m.noted("component decode: worker 101: memory limit of 64M reached")
		if c := m.component("decode"); c.Running != 1 || c.Abnormal != 1 || c.Peak != 64<<20 || c.LastEnd != "memory limit of 64M reached" {
			t.Errorf("decode: %+v", c)
		}
		m.did()
		m.stop()
		got := m.did()
		if len(got) != 4 || got[0] != "68 talk" || got[1] != "SIGTERM web" {
			t.Errorf("asked %q", got)
		}
		slices.Sort(got)
		if !slices.Equal(got[1:], []string{"SIGKILL decode", "SIGTERM talk", "SIGTERM web"}) {
			t.Errorf("asked %q", got)
		}
		m.ends(0)
	})
}

// TestNotesAreBounded: a flood of abnormal ends is a few lines and a number.
func TestNotesAreBounded(t *testing.T) {
	p := application(with("web", nil), with("decode", func(c *plan.Component) { c.Start = plan.PerRequest }))
	play(t, p, func(m *script) {
		for worker := uint32(100); worker < 1100; worker++ {
			if worker == 1099 {
				m.pass(time.Minute)
			}
			m.tell(workerStarted{worker: worker, component: 1, pid: worker, by: 1})
			m.tell(workerEnded{worker: worker, component: 1, how: wire.Signaled, code: 11})
		}
		if lines := strings.Count(m.notes.String(), "component decode: worker"); lines != quietLines+1 {
			t.Errorf("%d lines", lines)
		}
		m.noted("994 more workers ended abnormally")
		if n := len(m.app.journal.events); n > journalLength {
			t.Errorf("%d events are kept", n)
		}
	})
}
