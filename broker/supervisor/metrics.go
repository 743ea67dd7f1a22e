package supervisor

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"bulkhead/broker/control"
)

// The bounds of a request for metrics.
const (
	metricsLimit       = 5 * time.Second // for all of it
	metricsHeaderLines = 100
)

// serveMetrics answers one HTTP request; then the connection ends. It is no
// HTTP server: Prometheus and curl ask for one path, by GET.
func (c *client) serveMetrics() {
	c.file.SetDeadline(time.Now().Add(metricsLimit))
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return
	}
	words := strings.Fields(string(line))
	for range metricsHeaderLines {
		if line, err = c.in.ReadSlice('\n'); err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	switch {
	case err != nil || len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1."):
		c.respond("400 Bad Request", "this is no request of HTTP/1.1\n")
	case words[0] != "GET":
		c.respond("405 Method Not Allowed", "only GET is answered\n")
	case strings.SplitN(words[1], "?", 2)[0] != "/metrics":
		c.respond("404 Not Found", "only /metrics is here\n")
	default:
		a := ask{request: control.Request{Verb: control.AskStatus}, answer: make(chan answer, 1)}
		c.server.post(a)
		select {
		case given := <-a.answer:
			c.respond("200 OK", metricsText(given.reply.Status))
		case <-c.server.over:
		}
	}
}

func (c *client) respond(status, body string) {
	// One write: whoever reads gets all of it, or nothing.
	fmt.Fprintf(c.file, "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, len(body), body)
}

// componentMetrics are the numbers of each component.
var componentMetrics = []struct {
	name, kind, help string
	value            func(c *control.Component) (float64, bool)
}{
	{"up", "gauge", "Whether the component is ready.", func(c *control.Component) (float64, bool) { return truth(c.State.Up()), true }},
	{"failed", "gauge", "Whether it has failed.", func(c *control.Component) (float64, bool) { return truth(c.State == control.Failed), true }},
	{"healthy", "gauge", "Whether its last health check went well.", func(c *control.Component) (float64, bool) {
		return truth(c.Health == "healthy"), c.Health != ""
	}},
	{"restarts_total", "counter", "How often it was restarted.", func(c *control.Component) (float64, bool) { return float64(c.Restarts), true }},
	{"workers", "gauge", "How many workers run.", func(c *control.Component) (float64, bool) { return float64(c.Running), true }},
	{"workers_started_total", "counter", "How many workers ever started.", func(c *control.Component) (float64, bool) { return float64(c.Total), true }},
	{"workers_failed_total", "counter", "How many workers ended otherwise than with status 0.", func(c *control.Component) (float64, bool) { return float64(c.Abnormal), true }},
	{"queue", "gauge", "How many requests wait for a worker.", func(c *control.Component) (float64, bool) { return float64(c.Queue), true }},
	{"denials_total", "counter", "How often its workers were refused something.", func(c *control.Component) (float64, bool) { return float64(c.Denied), true }},
	{"ended_processor_seconds_total", "counter", "Processor time of workers that have ended.", func(c *control.Component) (float64, bool) { return float64(c.Processor) / 1e6, true }},
	{"ended_memory_peak_bytes", "gauge", "The most memory that one of the ended workers had.", func(c *control.Component) (float64, bool) { return float64(c.Peak), true }},
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// metricsText is the text format of Prometheus, version 0.0.4.
func metricsText(s *control.Status) string {
	var b strings.Builder
	application := label("application", s.Application)
	head := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP sandbox_%s %s\n# TYPE sandbox_%s %s\n", name, help, name, kind)
	}
	row := func(name, labels string, value float64) { fmt.Fprintf(&b, "sandbox_%s{%s} %g\n", name, labels, value) }
	head("application_running", "gauge", "Whether all components are up.")
	row("application_running", application, truth(s.State == control.Running))
	head("application_start_time_seconds", "gauge", "When the application was started, since 1970.")
	fmt.Fprintf(&b, "sandbox_application_start_time_seconds{%s} %d\n", application, s.Started.Unix())
	for _, m := range componentMetrics {
		head("component_"+m.name, m.kind, m.help)
		for i := range s.Components {
			c := &s.Components[i]
			if value, known := m.value(c); known {
				row("component_"+m.name, application+","+label("component", c.Name), value)
			}
		}
	}
	head("grants_total", "counter", "How many descriptors were handed out.")
	for i := range s.Components {
		c := &s.Components[i]
		for _, g := range c.Grants {
			row("grants_total", application+","+label("component", c.Name)+","+label("grant", g.Name), float64(g.Count))
		}
	}
	head("log_full", "gauge", "Whether a log cannot be written.")
	for _, l := range s.Logs {
		row("log_full", application+","+label("log", l.Name), truth(l.Full))
	}
	head("log_dropped_lines_total", "counter", "How many lines a full disk cost.")
	for _, l := range s.Logs {
		row("log_dropped_lines_total", application+","+label("log", l.Name), float64(l.Dropped))
	}
	return b.String()
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func label(name, value string) string { return name + `="` + labelEscapes.Replace(value) + `"` }
