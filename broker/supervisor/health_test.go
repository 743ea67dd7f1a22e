package supervisor

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
)

func healthy(c *plan.Component) {
	c.Life.Health = plan.Health{Kind: plan.HealthConnect, Interval: 10 * time.Second, Timeout: time.Second, Failures: 3}
}

// TestHealth: failures in a row lead to a restart, others do not.
func TestHealth(t *testing.T) {
	play(t, application(with("web", healthy)), func(m *script) {
		m.expect("start web")
		m.change(func() { m.checks["web"] = 2 })
		m.pass(25 * time.Second)
		if h := m.component("web").Health; !strings.HasPrefix(h, "failed health checks: 2") {
			t.Errorf("its health is %q", h)
		}
		m.pass(10 * time.Second)
		m.expect()
		m.noted("is healthy again, failed checks before: 2")
		m.change(func() { m.checks["web"] = 3 })
		m.pass(20 * time.Second)
		m.expect()
		m.pass(10 * time.Second)
		m.expect("SIGTERM web", "start web")
		m.noted("failed 3 health checks, the last: connection timed out")
		m.state("web", control.Started)
		if h := m.component("web").Health; h != "" {
			t.Errorf("before its first check its health is %q", h)
		}
		m.pass(10 * time.Second)
		if h := m.component("web").Health; h != "healthy" {
			t.Errorf("its health is %q", h)
		}
		if c := m.component("web"); c.Restarts != 1 {
			t.Errorf("%d restarts", c.Restarts)
		}
	})
}

// TestHealthOfTheStopped: nobody is checked who is down.
func TestHealthOfTheStopped(t *testing.T) {
	play(t, application(with("web", healthy), with("other", nil)), func(m *script) {
		m.ask(control.Request{Verb: control.Stop, Component: "web"})
		m.change(func() { m.checks["web"] = 100 })
		m.pass(time.Hour)
		m.change(func() {
			if m.checks["web"] != 100 {
				t.Errorf("%d checks", 100-m.checks["web"])
			}
		})
	})
}

// TestAskHTTP: what is well and what is not, and no answer keeps it for ever.
func TestAskHTTP(t *testing.T) {
	for _, test := range []struct{ answer, want string }{
		{"HTTP/1.1 200 OK\r\n\r\n", ""},
		{"HTTP/1.0 302 Found\r\n", ""},
		{"HTTP/1.1 503 Service Unavailable\r\n", `GET /x: status "503 Service Unavailable"`},
		{"SSH-2.0-x\r\n", "GET /x: its answer is not HTTP"},
		{strings.Repeat("a", 4096), "GET /x: its answer is not HTTP"},
		{"", "GET /x: EOF"},
		{"slow", "GET /x: i/o timeout"},
	} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(pair[1]), "server")
		server, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			var b [512]byte
			n, _ := server.Read(b[:])
			if !strings.HasPrefix(string(b[:n]), "GET /x HTTP/1.1\r\n") {
				t.Errorf("the request is %q", b[:n])
			}
			io.WriteString(server, test.answer)
			if test.answer != "slow" {
				server.Close()
			}
		}()
		got := ""
		if err := askHTTP(pair[0], "/x", 100*time.Millisecond); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("after %.30q: %q, want %q", test.answer, got, test.want)
		}
		server.Close()
	}
}

// TestOnExit: every action, after an exit status and after a signal.
func TestOnExit(t *testing.T) {
	exits := []plan.Exit{
		{Code: 0, Action: plan.ExitRestart}, {Code: 7, Action: plan.ExitStop}, {Code: 100, Action: plan.ExitFail},
		{Code: 3, Action: plan.ExitStopApplication}, {Signal: true, Code: 11, Action: plan.ExitFail},
	}
	app := func() *plan.Plan {
		return application(with("web", func(c *plan.Component) { c.Life.OnExit = exits }),
			with("next", func(c *plan.Component) { c.Life.After = []string{"web"}; c.Life.Restart = plan.RestartAlways }))
	}
	play(t, app(), func(m *script) {
		m.expect("start web", "start next")
		m.exit("web", 0)
		m.pass(time.Second)
		m.expect("start web")
		m.exit("web", 5) // not named: a failure
		m.pass(time.Second)
		m.expect("start web")
		m.exit("web", 7)
		m.state("web", control.Stopped)
		m.pass(time.Minute)
		m.expect()
		m.exit("next", 1) // it comes after what is done
		m.pass(time.Minute)
		m.expect("start next")
	})
	for _, how := range []func(m *script){func(m *script) { m.exit("web", 100) }, func(m *script) { m.crash("web") }} {
		play(t, app(), func(m *script) {
			how(m)
			m.pass(time.Minute)
			m.state("web", control.Failed)
			m.noted("which its policy calls a failure for good")
			m.expect("start web", "start next")
		})
	}
	play(t, app(), func(m *script) {
		m.exit("web", 3)
		m.ends(3)
	})
}
