package life

import (
	"strings"
	"testing"

	"bulkhead/test/loopback"
)

// TestHealthCommand: a component that stops to work, by its own command, is
// restarted; the status says so meanwhile.
func TestHealthCommand(t *testing.T) {
	a := New(t, "health").Run(`application: {{NAME}}
components:
  web:
    command: [/bin/busybox, sh, -c, "echo >> {{DIR}}/starts; touch {{DIR}}/well; exec sleep 1000"]
    files: {execute: [/bin/busybox], write: ["{{DIR}}"]}
    user: root
    restart-delay: 10ms
    health: {command: [/bin/busybox, test, -e, "{{DIR}}/well"], interval: 100ms, timeout: "{{PATIENCE}}", failures: 3}
`)
	a.Expect("up after")
	a.Until("it is healthy", func() bool { return strings.Contains(a.Sandbox("status", "--json", a.Name), `"health": "healthy"`) })
	a.Remove("well")
	a.Expect("failed 3 health checks, the last: its health command did not end with 0 in time")
	a.Expect("restarts")
	a.Until("it started again", func() bool { return strings.HasPrefix(a.Read("starts"), "\n\n") })
	if events := a.Sandbox("events", a.Name); !strings.Contains(events, "health check 2 of 3 failed: its health command did not end with 0 in time (process ") {
		t.Errorf("events:\n%s", events)
	}
}

// TestHealthHTTP: a server of one answer that later has another.
func TestHealthHTTP(t *testing.T) {
	a := New(t, "http")
	a.File("answer", "HTTP/1.0 200 OK\r\n\r\n")
	a.File("web.py", server)
	a.Run(strings.ReplaceAll(`application: {{NAME}}
grants: {http: {listen: "tcp:127.0.0.1:PORT"}}
components:
  web:
    command: [/usr/bin/python3, "{{DIR}}/web.py"]
    extends: python
    grants: [http]
    files: {read: ["{{DIR}}"]}
    user: root
    health: {http: http, path: /status, interval: 100ms, timeout: "{{PATIENCE}}", failures: 2}
`, "PORT", loopback.Port(t)))
	a.Expect("up after")
	a.Until("it is healthy", func() bool { return strings.Contains(a.Sandbox("status", "--json", a.Name), `"health": "healthy"`) })
	a.File("answer", "HTTP/1.0 500 Sorry\r\n\r\n")
	a.Expect(`failed 2 health checks, the last: GET /status: status "500 Sorry"`)
	a.File("answer", "HTTP/1.0 204 Fine\r\n\r\n")
	a.Until("it is healthy again", func() bool {
		return strings.Count(a.Said.String(), "ready after") > 1 && strings.Contains(a.Sandbox("status", "--json", a.Name), `"health": "healthy"`)
	})
}

// TestOnExit: an exit status that the policy calls a failure for good, and one
// that ends the application with it.
func TestOnExit(t *testing.T) {
	a := New(t, "exit").Run(`application: {{NAME}}
components:
  broken: { on-exit: {125: fail}, {{SH}} "exit 125"] }
  last: { on-exit: {3: stop-application}, {{SH}} "until test -e {{DIR}}/go; do sleep 0.05; done; exit 3"] }
`)
	a.Expect("component broken: exited with status 125, which its policy calls a failure for good")
	a.Until("it is failed", func() bool { return strings.Contains(a.Sandbox("status", "--json", a.Name), `"failed"`) })
	a.File("go", "")
	if status := a.Wait(); status != 3 {
		t.Errorf("the application's status is %d", status)
	}
}

// server answers with what a file holds.
const server = `
import os, socket, sys
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(open(os.path.dirname(sys.argv[0]) + "/answer", "rb").read())
    connection.close()
`
