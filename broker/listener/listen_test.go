package listener

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// What is in the way of a socket is said of its own kind.
func TestInTheWay(t *testing.T) {
	here := t.TempDir()
	file := filepath.Join(here, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		grant plan.Grant
		want  string
	}{
		{plan.Grant{Network: "tcp", Address: "127.0.0.1", Port: 22601}, "another program listens there (ss -ltnp shows which)"},
		{plan.Grant{Network: "udp", Address: "127.0.0.1", Port: 22601}, "another program listens there (ss -lunp shows which)"},
		{plan.Grant{Network: "unix", Address: here + "/socket", Mode: 0o600}, "another program listens there (ss -lxp shows which)"},
		{plan.Grant{Network: "unix", Address: file}, "what stands there is no socket: move it away"},
		{plan.Grant{Network: "unix", Address: here}, "what stands there is no socket: move it away"},
	} {
		if fd, err := Granted(&c.grant); err == nil {
			defer unix.Close(fd)
		}
		fd, err := Granted(&c.grant)
		if err == nil {
			unix.Close(fd)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:%s: %v, want %s", c.grant.Network, c.grant.Address, err, c.want)
		}
	}
}
