package daemons

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
)

// unboundConfiguration has what Debian's has for unbound-control, which the
// profile switches off, and a record.
const unboundConfiguration = `
include: "/etc/unbound/unbound.conf.d/remote-control.conf"
server:
	local-zone: "ship.test." static
	local-data: "ship.test. A %s"
`

// upstream is a name server that answers every question with one address.
func upstream(t *testing.T, answer [4]byte) (port string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		packet := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(packet)
			if err != nil {
				return
			}
			end := 12 // behind the name, its type and its class (RFC 1035)
			for end < n && packet[end] != 0 {
				end += int(packet[end]) + 1
			}
			if end += 5; end > n {
				continue
			}
			reply := append([]byte{packet[0], packet[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, packet[12:end]...)
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
			c.WriteTo(append(reply, answer[:]...), from)
		}
	}()
	_, port, err = net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func unboundSettings(t *testing.T, behind string) (settings []string, port string, write func(address string)) {
	t.Helper()
	configuration := directory(t, "root")
	port = freePort(t)
	write = func(address string) {
		replace(t, filepath.Join(configuration, "unbound.conf"), fmt.Sprintf(unboundConfiguration, address))
	}
	write("192.0.2.1")
	return []string{
		"variables.port=" + port, "variables.upstream-port=" + behind,
		"variables.configuration=" + configuration, "variables.state=" + directory(t, "unbound"),
	}, port, write
}

func TestUnbound(t *testing.T) {
	long(t)
	needs(t, "unbound", "bind9-dnsutils")
	settings, port, write := unboundSettings(t, upstream(t, [4]byte{192, 0, 2, 99}))
	a := start(t, "unbound", settings...)
	dig := func(want string, arguments ...string) {
		t.Helper()
		a.expect(want, "dig", append([]string{"+short", "+time=2", "+tries=1", "-p", port}, arguments...)...)
	}
	for _, server := range []string{"@127.0.0.1", "@::1"} {
		dig("192.0.2.1\n", server, "ship.test")
		dig("192.0.2.1\n", server, "+tcp", "ship.test")
	}
	// What it does not know it asks the granted server for.
	dig("192.0.2.99\n", "@127.0.0.1", "far.island")

	before := a.worker().PID
	write("192.0.2.2")
	a.reload()
	dig("192.0.2.2\n", "@127.0.0.1", "ship.test")
	if now := a.worker().PID; now != before {
		t.Errorf("reloading replaced the process %d by %d", before, now)
	}
	a.denials()
	a.stop()
}

func TestUnboundWalls(t *testing.T) {
	long(t)
	needs(t, "unbound")
	settings, _, _ := unboundSettings(t, freePort(t))
	walls(t, "unbound", settings...)
}
