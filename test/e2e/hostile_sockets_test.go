package e2e

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/test/loopback"
)

// alive is a component by which one sees that the monitor works: it starts a
// worker for each connection.
func alive(t *testing.T) (grant, component string, expect func()) {
	port := itoa(loopback.Number(t))
	grant = `  alive: {listen: "tcp:127.0.0.1:` + port + `"}
`
	component = `  alive: {command: [{{BUSYBOX}}, echo, served], grants: [alive: {number: 0}], start: per-connection}
`
	return grant, component, func() {
		t.Helper()
		if got := talk(t, "tcp", "127.0.0.1:"+port, ""); got != "served\n" && got != "served" {
			t.Fatalf("another component answers %q", got)
		}
	}
}

// A worker of one connection does not get the socket that all come from, also
// where it may connect elsewhere and so has its calls answered by the monitor.
func TestDoorIsNoSocket(t *testing.T) {
	a := New(t, "door").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
  store: {connect: "tcp:127.0.0.1:1"}
components:
  web: {command: [{{PROGRAM}}, hostile, door, "{{PORT}}"], grants: [http, store], start: per-connection}
`).Run().Ready()
	if got := talk(t, "tcp", "127.0.0.1:"+itoa(a.Port()), ""); got != "" {
		t.Errorf("it answers %q", got)
	}
	a.Expect(a.Out, "listens: ")
	expectLines(t, a.Lines("web"), "bind: EACCES", "listens: false")
	a.Expect(a.Err, "EACCES; to allow it: nothing in a policy allows it")
	a.Stop()
}

// Who has a listening socket too may let it block and take what comes: a
// monitor that then waits for the next connection would serve nobody.
func TestDoorThatBlocks(t *testing.T) {
	grant, component, expect := alive(t)
	a := New(t, "blocks").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
` + grant + `components:
  web: {command: [{{BUSYBOX}}, "true"], grants: [http], start: per-connection}
  villain: {command: [{{PROGRAM}}, hostile, take], grants: [http]}
` + component).Run().Ready()
	a.Expect(a.Out, "takes")
	for range 100 {
		c, err := net.Dial("tcp", "127.0.0.1:"+itoa(a.Port()))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		expect()
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// The last that has a socket which lingers waits until the other side has taken
// everything: that is not the monitor.
func TestSocketThatLingers(t *testing.T) {
	grant, component, expect := alive(t)
	a := New(t, "linger").Write(`
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
` + grant + `components:
  villain: {command: [{{PROGRAM}}, hostile, linger, "8"], grants: [http], restart: never}
` + component).Run().Ready()
	for range 8 {
		c, err := net.Dial("tcp", "127.0.0.1:"+itoa(a.Port()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	a.Expect(a.Out, "passed")
	expect()
	began := time.Now()
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
	t.Log("stopped after", time.Since(began))
}

// Options that lead packets to other hosts are refused; those that everybody
// sets are set.
func TestOptionsOfSockets(t *testing.T) {
	a, lines := onNetwork(t, "options", "tcp", "")
	expectLines(t, lines,
		"a route of IPv4: EPERM",
		"a route of IPv4, bits above: EPERM",
		"a route of IPv4 of an IPv6 socket: EPERM",
		"a route of IPv6: EPERM",
		"an older one: EPERM",
		"one among others: EPERM",
		"one of a label: EPERM",
		"a route of IPv6, bits above: EPERM",
		"linger for 5 s: ok", "lingers: 0 0",
		"reset at the end: ok", "lingers: 1 0",
		"linger for 5 s, bits above: ok", "lingers: 0 0",
		"linger in half a word: EINVAL",
		"linger from nowhere: EFAULT",
		"linger of a pipe: ENOTSOCK",
		"linger of nothing: EBADF",
		"reuse of the address: ok", "reuse of the port: ok", "busy polling: ok", "no delay: ok", "a kind of service: ok",
		"IPv6 only: ok", "an unknown level: ENOPROTOOPT", "connect: ok")
	if said := a.Err.String(); !strings.Contains(said, "nothing in a policy allows it") {
		t.Errorf("no denial was reported: %s", said)
	}
}

// More threads connect than the monitor has for a component, to a server that lets
// them wait: they wait, and are refused nothing.
func TestCrowdConnects(t *testing.T) {
	a := New(t, "crowd")
	server, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(server, &unix.SockaddrUnix{Name: a.Dir + "/server"})
	}
	if err == nil {
		err = unix.Listen(server, 0)
	}
	if err == nil { // who was refused does not come
		err = unix.SetsockoptTimeval(server, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 15})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(a.Dir + "/server")
	a.Write(`
application: {{NAME}}
grants:
  out: {connect: "unix:{{DIR}}/server"}
components:
  villain: {command: [{{PROGRAM}}, hostile, crowd, "{{DIR}}/server", "60"], grants: [out], restart: never, limits: {processes: 100}}
`).Run()
	a.Expect(a.Out, "asked")
	var all []int
	for range 60 {
		fd, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fd)
	}
	a.Wait()
	expectLines(t, a.Lines("villain"), "asked", "answers: map[ok:60]")
	if strings.Contains(a.Err.String(), "denied: connect") {
		t.Error("a denial was reported")
	}
	for _, fd := range append(all, server) {
		unix.Close(fd)
	}
}
