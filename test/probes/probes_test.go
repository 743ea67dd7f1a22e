package probes

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

var tableFile = flag.String("table", "", "write the table of who stops what to this file, as Markdown")

// A probe that cannot say ESCAPED proves nothing, so each has to where nothing
// stands in its way.
func TestEveryProbeCanEscape(t *testing.T) {
	l := inLaboratory(t)
	for _, result := range l.column(t, l.bare()).Results {
		reason, expected := l.stoppedBare(result.Probe.Name)
		if result.Verdict != Escaped && !expected {
			t.Errorf("%s cannot escape even bare: %s: %s", result.Probe.Name, result.Verdict, result.Reason)
		}
		if result.Verdict == Escaped && expected {
			t.Logf("%s escapes here, which was not expected: %s", result.Probe.Name, reason)
		}
	}
}

// An answer that is late, as on a busy machine, is no wall.
func TestLateAnswer(t *testing.T) {
	l := inLaboratory(t)
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go func() {
		_, from, err := packets.ReadFrom(make([]byte, 64))
		if err != nil {
			return
		}
		time.Sleep(1500 * time.Millisecond)
		packets.WriteTo([]byte(l.outside.Secret), from)
	}()
	late := *l.outside
	late.Targets = append([]string{fmt.Sprintf("PROBE_UDP_PORT=%d", packets.LocalAddr().(*net.UDPAddr).Port)}, late.Targets...)
	results, err := Run(l.bare(), []Probe{{Name: "udp-loopback"}}, &late)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Verdict != Escaped {
		t.Errorf("%s: %s", results[0].Verdict, results[0].Reason)
	}
}

// The table is made of what the launchers do; what is asserted of others is only that
// they ran at all and that the probes do find walls.
func TestTable(t *testing.T) {
	l := inLaboratory(t)
	columns := []Column{l.column(t, l.bare())}
	compare := func(name, program string, peer func(t *testing.T) Runner) {
		t.Run(name, func(t *testing.T) {
			if err := Available(program); err != nil {
				t.Skipf("not compared with %s: %v; make test-here compares", name, err)
			}
			column := l.column(t, peer(t))
			for _, result := range column.Results {
				if slices.Contains(certainWalls, result.Probe.Name) && result.Verdict != Stopped {
					t.Errorf("%s: %s: %s: %s", name, result.Probe.Name, result.Verdict, result.Reason)
				}
			}
			columns = append(columns, column)
		})
	}
	compare("bubblewrap", "bwrap", func(*testing.T) Runner { return Bubblewrap{l.program} })
	compare("runc", "runc", l.runc)
	columns = append(columns, l.column(t, l.sandbox(t)))
	if *tableFile == "" {
		return
	}
	out, err := os.Create(*tableFile)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := WriteTable(out, columns); err != nil {
		t.Fatal(err)
	}
}

func (l *laboratory) bare() Runner { return Bare{l.program, l.outside.Victim} }

func (l *laboratory) runc(t *testing.T) Runner {
	t.Helper()
	bundle, err := os.MkdirTemp(l.directory, "bundle-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	runc, err := NewRunc(l.program, bundle)
	if err != nil {
		t.Fatal(err)
	}
	return runc
}

// certainWalls hold in every launcher with namespaces of its own.
var certainWalls = []string{
	"open", "open-upwards", "kill", "ptrace-attach", "proc-mem", "abstract-socket", "unix-socket",
	"tcp-loopback", "sysv-shared-memory", "host-mount-namespace", "host-pid-namespace",
}
