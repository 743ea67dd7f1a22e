package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// health is what is known of a component's health checks.
type health struct {
	worker   *worker // that is checked, nil: none
	failures int     // in a row
	checks   uint64  // counts them: the answer to an earlier one is stale
	known    bool    // one was answered
	why      string  // of the last failure
}

// healthTick is the tick of the next check.
type healthTick struct {
	component *component
	worker    *worker
}

// checked is what became of a check.
type checked struct {
	component *component
	check     uint64
	why       string // it failed, or ""
}

// startHealth begins to check a component that is ready. It is never checked
// before that: how long a start may take is ready-timeout's business.
func (s *Supervisor) startHealth(c *component) {
	if h := &c.plan.Life.Health; h.Kind == 0 && h.Memory == 0 {
		return
	}
	c.health = health{worker: c.worker, checks: c.health.checks}
	s.later(c.plan.Life.Health.Interval, healthTick{c, c.worker})
}

// healthPatience is how much later than its time-out a check's answer may
// come, by way of the monitor, before none is taken for an answer too.
const healthPatience = 500 * time.Millisecond

// check asks for one check. Its answer comes from the monitor or, for HTTP,
// from the component itself.
func (s *Supervisor) check(e healthTick) {
	c := e.component
	if c.worker != e.worker || c.health.worker != e.worker || !c.state.Up() {
		return
	}
	if c.frozen {
		s.later(c.plan.Life.Health.Interval, e)
		return
	}
	c.health.checks++
	check, limit := c.health.checks, c.plan.Life.Health.Timeout
	s.later(limit+healthPatience, checked{c, check, fmt.Sprintf("no answer within %s", limit)})
	s.call(wire.Check, func(r reply) {
		if r.status != 0 || c.plan.Life.Health.Kind != plan.HealthHTTP {
			s.checked(checked{c, check, r.reason})
		}
	}, uint32(c.index))
}

// healthSocket is the connection for an HTTP check.
func (s *Supervisor) healthSocket(e healthSocket) {
	c := s.components[e.component]
	check := c.health.checks
	go func() {
		why := ""
		if err := askHTTP(e.fd, c.plan.Life.Health.Path, c.plan.Life.Health.Timeout); err != nil {
			why = err.Error()
		}
		s.post(checked{c, check, why})
	}()
}

// checked counts a failure, forgets those before a success, and restarts a
// component that failed too often in a row.
func (s *Supervisor) checked(e checked) {
	c := e.component
	if e.check != c.health.checks || c.worker == nil || c.health.worker != c.worker || !c.state.Up() {
		return
	}
	c.health.checks++ // one answer to each check
	if c.frozen {     // since it was asked
		s.later(c.plan.Life.Health.Interval, healthTick{c, c.worker})
		return
	}
	c.health.known = true
	limit := c.plan.Life.Health.Failures
	if e.why == "" {
		if c.health.failures > 0 {
			s.tell(c, fmt.Sprintf("is healthy again, failed checks before: %d", c.health.failures))
		}
		c.health.failures, c.health.why = 0, ""
	} else {
		c.health.failures++
		c.health.why = e.why
		s.journal.add(control.Event{
			Kind: control.EventHealth, Component: c.plan.Name, Worker: c.worker.id, PID: c.worker.pid,
			Text: fmt.Sprintf("health check %d of %d failed: %s", c.health.failures, limit, e.why),
		})
	}
	if c.health.failures < limit {
		s.later(c.plan.Life.Health.Interval, healthTick{c, c.worker})
		return
	}
	c.verdict = fmt.Sprintf("failed %d health checks, the last: %s", limit, e.why)
	s.tell(c, c.verdict)
	s.askEnd(c, c.verdict)
}

// String is what the status says of it: nothing before the first check.
func (h *health) String() string {
	switch {
	case h.worker == nil || !h.known:
		return ""
	case h.failures > 0:
		return fmt.Sprintf("failed health checks: %d, the last: %s", h.failures, h.why)
	}
	return "healthy"
}

// statusLineMaximum bounds what is read of an answer: only its first line
// counts.
const statusLineMaximum = 512

// askHTTP asks once on a connection, which it closes, and wants a status from
// 200 to 399. It is no HTTP library: what is asked is one line, and what is
// read of the answer is one line too.
func askHTTP(fd int, path string, limit time.Duration) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	connection := os.NewFile(uintptr(fd), "health check")
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(limit))
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sandbox-health\r\nConnection: close\r\n\r\n"
	if _, err := connection.WriteString(request); err != nil {
		return fmt.Errorf("GET %s: %w", path, withoutName(err))
	}
	var answer [statusLineMaximum]byte
	for n := 0; n < len(answer); {
		more, err := connection.Read(answer[n:])
		n += more
		if line, _, whole := bytes.Cut(answer[:n], []byte{'\n'}); whole {
			return statusWell(path, line)
		}
		if err != nil {
			return fmt.Errorf("GET %s: %w", path, withoutName(err))
		}
	}
	return fmt.Errorf("GET %s: its answer is not HTTP", path)
}

// withoutName is an error without the name of a file that is none.
func withoutName(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}

func statusWell(path string, line []byte) error {
	fields := bytes.Fields(line)
	if len(fields) < 2 || !bytes.HasPrefix(fields[0], []byte("HTTP/1.")) || len(fields[1]) != 3 {
		return fmt.Errorf("GET %s: its answer is not HTTP", path)
	}
	if status := fields[1]; status[0] != '2' && status[0] != '3' {
		return fmt.Errorf("GET %s: status %.40q", path, bytes.Join(fields[1:], []byte{' '}))
	}
	return nil
}
