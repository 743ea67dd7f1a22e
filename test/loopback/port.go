// Package loopback finds ports for tests.
package loopback

import (
	"net"
	"testing"
)

// Port is a TCP port of 127.0.0.1 on which nobody listens.
func Port(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
