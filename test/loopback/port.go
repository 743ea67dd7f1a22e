// Package loopback finds ports for tests.
package loopback

import (
	"net"
	"strconv"
	"testing"
)

// Port is a TCP port of 127.0.0.1 on which nobody listens.
func Port(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(Number(t))
}

// Number is such a port as a number.
func Number(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
