package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

func TestStartInOrderStopInReverse(t *testing.T) {
	after := func(names ...string) func(*plan.Component) {
		return func(c *plan.Component) { c.Life.After = names }
	}
	m := newPeer(t, application(
		with("web", after("cache", "db")),
		with("db", nil),
		with("cache", after("db")),
		with("supervisor", nil),
	))
	m.run()
	m.untilState("web", control.Started)
	m.stop()
	if status := m.finish(); status != 0 {
		t.Errorf("status %d", status)
	}
	want := []string{"start db", "start cache", "start web", "SIGTERM web", "SIGTERM cache", "SIGTERM db"}
	if got := m.did(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestCrashRestarts(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	m.run()
	m.untilState("web", control.Started)
	m.end("web", wire.Signaled, 11)
	m.until("restart", func() bool { c := m.component("web"); return c.Restarts == 1 && c.State == control.Started })
	if end := m.component("web").LastEnd; end != "killed by SIGSEGV" {
		t.Errorf("last end %q", end)
	}
	m.stop()
	m.finish()
	if notes := m.notes.String(); !strings.Contains(notes, "sandbox: component web: killed by SIGSEGV; restarts") {
		t.Errorf("notes:\n%s", notes)
	}
}

func TestOutputHasNames(t *testing.T) {
	m := newPeer(t, application(with("web", nil), with("database", nil)))
	one, two := m.pipe("web", 1), m.pipe("database", 2)
	m.run()
	m.untilState("web", control.Started)
	one.WriteString("hello\nwor")
	two.WriteString("error\n")
	one.WriteString("ld\nlast words")
	m.end("web", wire.Exited, 1)
	m.until("lines", func() bool { return strings.Contains(m.lines.String(), "last words\n") })
	for _, want := range []string{"web      | hello\n", "web      | world\n", "database | error\n"} {
		if !strings.Contains(m.lines.String(), want) {
			t.Errorf("no %q in\n%s", want, m.lines.String())
		}
	}
	m.stop()
	m.finish()
}

// TestReadyOnDescriptor: a newline makes ready, and one that an earlier
// worker wrote does not speak for the next.
func TestReadyOnDescriptor(t *testing.T) {
	m := newPeer(t, application(with("web", func(c *plan.Component) {
		c.Life.Ready = plan.Ready{Kind: plan.ReadyFD, Number: 3}
	})))
	pipe := m.pipe("web", readyStream+3)
	m.run()
	m.untilState("web", control.Starting)
	pipe.WriteString("almost")
	if state := m.component("web").State; state != control.Starting {
		t.Errorf("web is %s without a newline", state)
	}
	pipe.WriteString("\n")
	m.untilState("web", control.Started)
	pipe.WriteString("\n\n")
	m.end("web", wire.Signaled, 9)
	m.until("restart", func() bool { c := m.component("web"); return c.Restarts == 1 && len(c.Workers) == 1 })
	time.Sleep(10 * time.Millisecond)
	if state := m.component("web").State; state != control.Starting {
		t.Errorf("web is %s by the word of its predecessor", state)
	}
	pipe.WriteString("\n")
	m.untilState("web", control.Started)
	m.stop()
	m.finish()
}

// TestDeepGraph: many ways through the graph of `after` cost no time.
func TestDeepGraph(t *testing.T) {
	components := []plan.Component{with("top", func(c *plan.Component) { c.Life.Ready.Kind = plan.ReadyNotify })}
	before := []string{"top"}
	for layer := range 40 {
		var names []string
		for _, side := range []string{"a", "b"} {
			name := fmt.Sprintf("%s%d", side, layer)
			names = append(names, name)
			components = append(components, with(name, after(before...)))
		}
		before = names
	}
	play(t, application(components...), func(m *script) {
		m.expect("start top")
		m.ask(on(control.Start, "a39"))
		m.tell(workerSays{worker: 1, component: 0, op: wire.Ready})
		if started := m.did(); len(started) != 80 {
			t.Errorf("%d started", len(started))
		}
		m.stop()
		if stopped := m.did(); len(stopped) != 81 || stopped[80] != "SIGTERM top" {
			t.Errorf("%d stopped, %q", len(stopped), stopped)
		}
	})
}

// BenchmarkRestart is the supervisor's part of the way from a crash to the
// next start: from the monitor's packet to the supervisor's.
func BenchmarkRestart(b *testing.B) {
	p := application(with("web", func(c *plan.Component) { c.Life.Delay = 0 }))
	p.Supervision.Restarts = 1 << 30
	m := newPeer(b, p)
	started := make(chan struct{}, 1)
	m.onStart = func(m *peer, component string, worker uint32) bool {
		m.workerStarted(component, worker, 0)
		started <- struct{}{}
		return true
	}
	m.run()
	<-started
	for b.Loop() {
		m.end("web", wire.Signaled, 11)
		<-started
	}
	m.stop()
	m.finish()
}
