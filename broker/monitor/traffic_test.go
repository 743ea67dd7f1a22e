package monitor

import (
	"net"
	"path/filepath"
	"testing"

	"bulkhead/policy/plan"
)

// TestConnected: a connection counts while it waits to be accepted, while it is
// open, and no longer.
func TestConnected(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "a door")
			}
			listener, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			g := &plan.Grant{Network: network, Address: listener.Addr().String()}
			if tcp, is := listener.Addr().(*net.TCPAddr); is {
				g.Address, g.Port = tcp.IP.String(), uint16(tcp.Port)
			}
			expect := func(when string, want bool) {
				t.Helper()
				if busy, err := connected(g); busy != want || err != nil {
					t.Errorf("%s: connected is %v, %v", when, busy, err)
				}
			}
			expect("nobody connects", false)
			client, err := net.Dial(network, listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			expect("it waits to be accepted", true)
			accepted, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			expect("it is accepted", true)
			accepted.Close()
			client.Close()
			expect("it is closed", false)
		})
	}
}
