package supervisor

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

var update = flag.Bool("update", false, "write the golden file")

// TestTransitionsGolden: the log of a whole life, each transition with its time
// and its cause, as `sandbox events` tells it.
func TestTransitionsGolden(t *testing.T) {
	p := application(
		with("db", func(c *plan.Component) {
			c.Life.Ready = plan.Ready{Kind: plan.ReadyConnect, Timeout: time.Minute}
			c.Life.StopTimeout = 3 * time.Second
		}),
		with("migrate", func(c *plan.Component) {
			c.Life.After, c.Life.Restart = []string{"db"}, plan.RestartOnFailure
		}),
		with("web", func(c *plan.Component) {
			c.Life.After, c.Life.Watchdog = []string{"db", "migrate"}, time.Minute
		}),
		with("cache", func(c *plan.Component) {
			c.Life.OnExit = []plan.Exit{{Code: 125, Action: plan.ExitFail}}
		}),
	)
	p.Supervision.Restarts = 3
	p.Supervision.Groups = []plan.Group{{Name: "front", Strategy: plan.OneForAll, Restarts: 1, Within: time.Hour, Members: []string{"web", "cache"}}}
	var text strings.Builder
	prepared(t, p, func(m *script) { m.probes["db"] = 1 }, func(m *script) {
		begin := time.Now()
		m.pass(time.Second)
		m.exit("migrate", 0)
		m.crash("cache")
		m.pass(30 * time.Second)
		m.end(m.workers["db"], 1, 3)
		m.pass(time.Minute)
		m.crash("web") // one too many in front
		m.pass(time.Minute)
		m.ask(on(control.Restart, "db"))
		m.change(func() { m.deaf["db"] = true })
		m.ask(on(control.Stop, "db"))
		m.pass(time.Minute)
		m.exit("cache", 125)
		m.ask(on(control.Start, "db"))
		m.pass(time.Second)
		m.change(func() { m.deaf["db"] = false })
		m.tell(stopAsked{signal: unix.SIGTERM})
		m.pass(time.Second)
		// Timers of one instant have no order, those of one component have.
		for _, name := range []string{"", "db", "migrate", "web", "cache"} {
			fmt.Fprintf(&text, "\n%s\n", cmp.Or(name, "the application"))
			for _, e := range m.app.journal.events {
				if e.Component != name {
					continue
				}
				fmt.Fprintf(&text, "%9.3f %-11s", e.Time.Sub(begin).Seconds(), e.Kind)
				if e.To != "" {
					fmt.Fprintf(&text, " %s -> %s", e.From, e.To)
				}
				fmt.Fprintf(&text, ": %s\n", e.Text)
			}
		}
	})
	const golden = "testdata/transitions.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the log is\n%s", text.String())
	}
}
