package supervisor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// listen gives an application a control and a status socket.
func listen(t *testing.T, m *peer) (controlPath, statusPath string) {
	t.Helper()
	var servers []*server
	directory := t.TempDir()
	for _, name := range []string{"control", "status"} {
		path := filepath.Join(directory, name)
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, 64); err != nil {
			t.Fatal(err)
		}
		v, err := newServer(fd, name == "control", m.app)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, v)
	}
	m.run(servers...)
	return filepath.Join(directory, "control"), filepath.Join(directory, "status")
}

func dial(t *testing.T, path string) *control.Client {
	t.Helper()
	c, err := control.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

func TestControlSocket(t *testing.T) {
	m := newPeer(t, application(with("web", nil), with("supervisor", nil)))
	path, _ := listen(t, m)
	c := dial(t, path)
	m.untilState("web", control.Started)
	r, err := c.Do(control.Request{Verb: control.AskStatus}, nil)
	if err != nil || r.Status == nil || r.Status.Application != "test" || len(r.Status.Components) != 2 {
		t.Fatalf("status: %+v, %v", r, err)
	}
	web := r.Status.Components[0]
	if web.State != control.Started || len(web.Workers) != 1 || web.Workers[0].PID != 1001 {
		t.Errorf("web: %+v", web)
	}
	if r, err = c.Do(control.Request{Verb: control.AskPS}, nil); err != nil || len(r.Workers) != 1 {
		t.Errorf("ps: %+v, %v", r, err)
	}
	if _, err = c.Do(control.Request{Verb: control.Restart, Component: "web", Wait: true}, nil); err != nil {
		t.Errorf("restart: %v", err)
	}
	_, err = c.Do(control.Request{Verb: control.Stop, Component: "wbe"}, nil)
	if err == nil || !strings.Contains(err.Error(), `no component "wbe"; it has `) {
		t.Errorf("stop: %v", err)
	}
	var states []string
	c.Do(control.Request{Verb: control.AskEvents, Lines: 100, Component: "web"}, func(r control.Reply) error {
		states = append(states, string(r.Event.To))
		return nil
	})
	if got := strings.Join(states, " "); got != "starting started stopping stopped starting started" {
		t.Errorf("states: %s", got)
	}
	if _, err = c.Do(control.Request{Verb: control.Shutdown, Wait: true}, nil); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if status := m.finish(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestStatusSocketOnlyReads(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	_, path := listen(t, m)
	c := dial(t, path)
	for verb, needs := range control.Verbs {
		r := control.Request{Verb: verb}
		if needs.Component {
			r.Component = "web"
		}
		if needs.Signal {
			r.Signal = 1
		}
		_, err := c.Do(r, nil)
		if refused := err != nil && strings.Contains(err.Error(), "not permitted on the status socket"); refused == needs.Reads {
			t.Errorf("%s: %v", verb, err)
		}
	}
	m.stop()
	m.finish()
}

func TestFollow(t *testing.T) {
	m := newPeer(t, application(with("web", nil), with("db", nil)))
	web, db := m.pipe("web", 1), m.pipe("db", 1)
	path, _ := listen(t, m)
	web.WriteString("before\n")
	m.until("the line", func() bool { return strings.Contains(m.lines.String(), "before") })
	logs, events := make(chan string, 100), make(chan string, 100)
	following := make(chan bool, 2)
	go dial(t, path).Do(control.Request{Verb: control.AskLogs, Component: "web", Lines: 10, Follow: true}, func(r control.Reply) error {
		logs <- r.Line.Text
		return nil
	})
	go func() {
		dial(t, path).Do(control.Request{Verb: control.AskEvents, Lines: 1, Follow: true}, func(r control.Reply) error {
			events <- r.Event.Text
			return nil
		})
		following <- false
	}()
	if got := <-logs; got != "before" {
		t.Errorf("got %q", got)
	}
	<-events
	db.WriteString("not asked for\n")
	web.WriteString("after\n")
	if got := <-logs; got != "after" {
		t.Errorf("got %q", got)
	}
	m.event(wire.Denied, func(w *wire.Message) {
		w.U32(1).U32(0).U32(101).U32(1).U64(0).U64(0).U64(0).String("").U32(1)
	})
	if got := <-events; got != "ptrace(0x0, ...)" {
		t.Errorf("got %q", got)
	}
	m.stop()
	m.finish()
	<-following // the end of the application ends the stream
}

func TestGarbage(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	path, _ := listen(t, m)
	for _, garbage := range []string{
		"\n", "hello\n", "{}\n", `{"verb":"fly"}` + "\n", `{"verb":"status","colour":"red"}` + "\n", "\x00\xff\n", `{"verb":"status"} x` + "\n",
		`{"verb":"signal","component":"web","signal":65}` + "\n", strings.Repeat("x", control.MaximumRequest+1), "[[[[[[[[\n",
	} {
		fd := connect(t, path)
		f := os.NewFile(uintptr(fd), "client")
		f.SetDeadline(time.Now().Add(10 * time.Second))
		f.WriteString(garbage)
		line, err := bufio.NewReader(f).ReadString('\n')
		if err != nil || !strings.Contains(line, `"error"`) {
			t.Errorf("%.40q: %q, %v", garbage, line, err)
		}
		f.Close()
	}
	// One who hangs up in the middle of a line, or of a wait.
	for _, half := range []string{"", `{"verb":`, `{"verb":"stop","component":"web","wait":true}` + "\n", `{"verb":"events","follow":true}` + "\n"} {
		fd := connect(t, path)
		unix.Write(fd, []byte(half))
		unix.Close(fd)
	}
	if _, err := dial(t, path).Do(control.Request{Verb: control.AskStatus}, nil); err != nil {
		t.Error(err)
	}
	m.until("nobody follows", func() bool { return !m.app.journal.feeds.any() })
	m.stop()
	m.finish()
}

func connect(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(fd, true)
	return fd
}

// TestSlowFollower: who does not read is cut off with a message, and nobody
// else notices.
func TestSlowFollower(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	web := m.pipe("web", 1)
	path, _ := listen(t, m)
	slow := os.NewFile(uintptr(connect(t, path)), "slow")
	defer slow.Close()
	fmt.Fprintln(slow, `{"verb":"logs","follow":true}`)
	m.until("it follows", m.app.output.feeds.any)
	line := strings.Repeat("x", 2000) + "\n"
	m.until("it is cut off", func() bool {
		web.WriteString(line)
		return !m.app.output.feeds.any()
	})
	start := time.Now()
	if _, err := dial(t, path).Do(control.Request{Verb: control.AskStatus}, nil); err != nil || time.Since(start) > time.Second {
		t.Errorf("status after %s: %v", time.Since(start), err)
	}
	slow.SetReadDeadline(time.Now().Add(10 * time.Second))
	in, last := bufio.NewReaderSize(slow, 1<<16), ""
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			break
		}
		last = text
	}
	if !strings.Contains(last, "too slow") {
		t.Errorf("last: %.100q", last)
	}
	m.stop()
	m.finish()
}

// TestTooManyClients: those who may only look cannot keep out those who
// control.
func TestTooManyClients(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	path, look := listen(t, m)
	for range clientsMaximum {
		c := dial(t, look)
		if _, err := c.Do(control.Request{Verb: control.AskPS}, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := dial(t, look).Do(control.Request{Verb: control.AskPS}, nil)
	if err == nil || !strings.Contains(err.Error(), "too many clients") {
		t.Errorf("one more: %v", err)
	}
	if _, err := dial(t, path).Do(control.Request{Verb: control.AskPS}, nil); err != nil {
		t.Error(err)
	}
	m.stop()
	m.finish()
}

// TestStatusWhileHung: a component whose start hangs delays no answer.
func TestStatusWhileHung(t *testing.T) {
	m := newPeer(t, application(with("web", nil), with("hung", func(c *plan.Component) { c.Life.StopTimeout = 10 * time.Millisecond })))
	m.onStart = func(_ *peer, component string, _ uint32) bool { return component == "hung" }
	path, _ := listen(t, m)
	c := dial(t, path)
	m.untilState("web", control.Started)
	for range 20 {
		start := time.Now()
		r, err := c.Do(control.Request{Verb: control.AskStatus}, nil)
		if err != nil || r.Status.Components[1].State != control.Starting {
			t.Fatalf("%+v, %v", r, err)
		}
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("status took %s", took)
		}
	}
}
