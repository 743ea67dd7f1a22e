package e2e

import (
	"io"
	"net"
	"testing"
)

// serve answers whoever connects, once, to what it hears of him first.
func serve(t *testing.T, network, address string, answer func(at net.Addr, heard []byte) string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var b [64]byte
			n, _ := c.Read(b[:]) // what is not read would make the close a reset
			io.WriteString(c, answer(l.Addr(), b[:n]))
			c.Close()
		}
	}()
	return l
}
