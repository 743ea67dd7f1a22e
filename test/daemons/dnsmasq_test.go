package daemons

import (
	"net"
	"path/filepath"
	"testing"
)

func dnsmasqSettings(t *testing.T, behind string) (settings []string, port string, write func(address string)) {
	t.Helper()
	hosts := directory(t, "root")
	port = freePort(t)
	write = func(address string) {
		replace(t, filepath.Join(hosts, "ship"), address+" ship.test\n")
	}
	write("192.0.2.1")
	return []string{"variables.port=" + port, "variables.upstream-port=" + behind, "variables.hosts=" + hosts}, port, write
}

func TestDnsmasq(t *testing.T) {
	long(t)
	needs(t, "dnsmasq-base", "bind9-dnsutils")
	settings, port, write := dnsmasqSettings(t, upstream(t, [4]byte{192, 0, 2, 99}))
	a := start(t, "dnsmasq", settings...)
	dig := func(want string, arguments ...string) {
		t.Helper()
		a.expect(want, "dig", append([]string{"+short", "+time=2", "+tries=1", "-p", port, "@127.0.0.1"}, arguments...)...)
	}
	dig("192.0.2.1\n", "ship.test")
	dig("192.0.2.1\n", "+tcp", "ship.test")
	// What it does not know it asks the granted server for.
	dig("192.0.2.99\n", "far.island")

	before := a.worker().PID
	write("192.0.2.2")
	a.reload()
	dig("192.0.2.2\n", "ship.test")
	if now := a.worker().PID; now != before {
		t.Errorf("reloading replaced the process %d by %d", before, now)
	}
	a.denials()
	a.stop()
}

// A question over TCP it passes on over TCP, and with fast open first.
func TestDnsmasqAsksOverTCP(t *testing.T) {
	long(t)
	needs(t, "dnsmasq-base", "bind9-dnsutils")
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, behind, err := net.SplitHostPort(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	settings, port, _ := dnsmasqSettings(t, behind)
	a := start(t, "dnsmasq", settings...)
	a.expect("192.0.2.1\n", "dig", "+short", "-p", port, "@127.0.0.1", "ship.test")
	connected := make(chan error, 1)
	go func() {
		c, err := server.Accept()
		if err == nil {
			c.Close()
		}
		connected <- err
	}()
	if got, err := command("dig", "+tcp", "+time=20", "+tries=1", "-p", port, "@127.0.0.1", "far.island"); err == nil {
		t.Errorf("a server that says nothing answered: %s", got)
	}
	server.Close() // if nobody came, the wait ends now
	if err := <-connected; err != nil {
		t.Errorf("dnsmasq did not connect to the granted server: %v", err)
	}
	a.denials()
	a.stop()
}

func TestDnsmasqWalls(t *testing.T) {
	long(t)
	needs(t, "dnsmasq-base")
	settings, _, _ := dnsmasqSettings(t, freePort(t))
	walls(t, "dnsmasq", settings...)
}
