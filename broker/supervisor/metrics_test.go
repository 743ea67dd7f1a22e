package supervisor

import (
	"strings"
	"testing"
	"time"

	"bulkhead/broker/control"
)

// TestMetricsText: every name once with its help, every label quoted.
func TestMetricsText(t *testing.T) {
	text := metricsText(&control.Status{
		Application: "app", State: control.Running, Started: time.Unix(1700000000, 0),
		Components: []control.Component{
			{Name: "web", State: control.Running, Restarts: 3, Total: 4, Processor: 1500000, Health: "healthy", Grants: []control.Grant{{Name: "db", Count: 7}}},
			{Name: "base", State: control.Failed},
		},
		Logs: []control.Log{{Name: `/var/log/a"b\c.log`, Dropped: 9}},
	})
	for _, line := range []string{
		`sandbox_application_running{application="app"} 1`,
		`sandbox_application_start_time_seconds{application="app"} 1700000000`,
		`sandbox_component_up{application="app",component="base"} 0`,
		`sandbox_component_failed{application="app",component="base"} 1`,
		`sandbox_component_healthy{application="app",component="web"} 1`,
		`sandbox_component_restarts_total{application="app",component="web"} 3`,
		`sandbox_component_ended_processor_seconds_total{application="app",component="web"} 1.5`,
		`sandbox_grants_total{application="app",component="web",grant="db"} 7`,
		`sandbox_log_dropped_lines_total{application="app",log="/var/log/a\"b\\c.log"} 9`,
	} {
		if strings.Count(text, line+"\n") != 1 {
			t.Errorf("not once: %s", line)
		}
	}
	if strings.Contains(text, `healthy{application="app",component="base"}`) {
		t.Error("a component that nobody checks has a health")
	}
	helped := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, _, _ = strings.Cut(name, " ")
			if helped[name] {
				t.Errorf("%s is explained twice", name)
			}
			helped[name] = true
		} else if name, _, ok := strings.Cut(line, "{"); ok && !helped[name] {
			t.Errorf("%s is not explained", name)
		}
	}
}
