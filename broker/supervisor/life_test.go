package supervisor

import (
	"slices"
	"strings"
	"testing"

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
