package life

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"bulkhead/test/loopback"
)

// TestMetrics: a client that knows nothing of us reads the numbers.
func TestMetrics(t *testing.T) {
	a := New(t, "metrics")
	address := "127.0.0.1:" + loopback.Port(t)
	a.Run(strings.ReplaceAll(`application: {{NAME}}
grants: {numbers: {listen: "tcp:ADDRESS"}}
control: {metrics: numbers}
components:
  web: { {{SH}} "exec sleep 1000"] }
  broken: { restart: never, {{SH}} "exit 3"] }
`, "ADDRESS", address))
	a.Expect("up after")
	a.Expect("exited with status 3")
	get := func(path string) (string, string) {
		r, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status, string(b)
	}
	status, text := get("/metrics")
	if status != "200 OK" {
		t.Errorf("status %s", status)
	}
	for _, line := range []string{
		`sandbox_component_up{application="` + a.Name + `",component="web"} 1`,
		`sandbox_component_failed{application="` + a.Name + `",component="broken"} 1`,
		`sandbox_component_workers_failed_total{application="` + a.Name + `",component="broken"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if status, _ := get("/"); status != "404 Not Found" {
		t.Errorf("/: %s", status)
	}
}
