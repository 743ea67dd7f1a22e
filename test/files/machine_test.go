package files

import (
	"net"
	"testing"
	"time"
)

// await tries until something is so.
func (s *site) await(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(*patience / 2); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if so() {
			return
		}
	}
	s.t.Errorf("%s does not come", what)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
