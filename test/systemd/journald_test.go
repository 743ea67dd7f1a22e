package systemd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

type entry struct {
	Message    string `json:"MESSAGE"`
	Priority   string `json:"PRIORITY"`
	Identifier string `json:"SYSLOG_IDENTIFIER"`
	Unit       string `json:"_SYSTEMD_UNIT"`
	Transport  string `json:"_TRANSPORT"`
}

// entries are those of a component of the application harbour.
func entries(t *testing.T, component string) []entry {
	t.Helper()
	text, _ := try("journalctl", "--quiet", "--all", "--output=json", "BULKHEAD_APPLICATION=harbour", "BULKHEAD_COMPONENT="+component)
	var all []entry
	for line := range strings.Lines(text) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("journalctl says %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// TestJournald: below the unit of the Debian package lines are the unit's
// entries, a restart of journald, whose
// socket systemd holds, costs none, and what is too large for a packet comes
// through a sealed file.
func TestJournald(t *testing.T) {
	// The smallest send buffer that the kernel has: 8 KiB do not fit.
	if err := os.WriteFile("/proc/sys/net/core/wmem_default", []byte("4608"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/etc/sandbox", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/sandbox/harbour.yaml", read(t, "testdata/harbour.yaml"))
	run(t, "systemctl", "start", "sandbox@harbour")
	defer run(t, "systemctl", "stop", "sandbox@harbour")
	until(t, "entries", func() bool { return len(entries(t, "lines")) > 10 && len(entries(t, "large")) == 1 })

	large := entries(t, "large")[0]
	if large.Message != fmt.Sprintf("%08000d", 1) || large.Priority != "3" || large.Identifier != "harbour/large" ||
		large.Unit != "sandbox@harbour.service" || large.Transport != "journal" {
		large.Message = fmt.Sprintf("%.20s… (%d)", large.Message, len(large.Message))
		t.Errorf("the large entry is %+v", large)
	}
	run(t, "sandbox", "inspect", "--verify", "harbour") // its slice is another one
	run(t, "systemctl", "reload", "sandbox@harbour")
	run(t, "systemctl", "restart", "systemd-journald")
	before := len(entries(t, "lines"))
	until(t, "entries after journald's restart", func() bool { return len(entries(t, "lines")) > before+20 })
	for n, e := range entries(t, "lines") {
		if e.Message != fmt.Sprintf("line %d", n+1) {
			t.Fatalf("entry %d is %q", n+1, e.Message)
		}
	}
}
