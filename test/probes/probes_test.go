package probes

import (
	"flag"
	"os"
	"slices"
	"testing"
)

var tableFile = flag.String("table", "", "write the table of who stops what to this file, as Markdown")

// laboratory is the program, what it aims at, and the list of probes.
type laboratory struct {
	program, directory string
	outside            *Outside
	list               []Probe
}

func newLaboratory(t *testing.T) laboratory {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the neighbour that probes aim at belongs to root: run as root")
	}
	// On a disk: probes that go round the mounts need a device behind the secret.
	directory, err := os.MkdirTemp("/var/tmp", "bulkhead-probes-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	l := laboratory{directory: directory}
	if l.program, err = Build("program", directory); err != nil {
		t.Fatal(err)
	}
	if l.list, err = List(l.program); err != nil {
		t.Fatal(err)
	}
	if l.outside, err = NewOutside(l.program, directory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.outside.Close)
	return l
}

func (l laboratory) column(t *testing.T, runner Runner) Column {
	t.Helper()
	results, err := RunAll(runner, l.list, l.outside)
	if err != nil {
		t.Fatal(err)
	}
	column := Column{runner.Name(), results}
	for _, result := range results {
		t.Logf("%-24s %-8s %s", result.Probe.Name, result.Verdict, result.Reason)
	}
	t.Logf("%s: %d stopped, %d escaped, %d untested", runner.Name(),
		column.Count(Stopped), column.Count(Escaped), column.Count(Untested))
	return column
}

// peers are the launchers to compare with, those that this machine has.
func (l laboratory) peers(t *testing.T) []Runner {
	t.Helper()
	var runners []Runner
	if err := Available("bwrap"); err != nil {
		t.Logf("not compared with bubblewrap: %v", err)
	} else {
		runners = append(runners, Bubblewrap{l.program})
	}
	if err := Available("runc"); err != nil {
		t.Logf("not compared with runc: %v", err)
		return runners
	}
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
	return append(runners, runc)
}

// A probe that cannot say ESCAPED proves nothing, so each has to where nothing
// stands in its way.
func TestEveryProbeCanEscape(t *testing.T) {
	l := newLaboratory(t)
	for _, result := range l.column(t, Bare{l.program, l.outside.Victim}).Results {
		reason, expected := stoppedBare[result.Probe.Name]
		if result.Verdict != Escaped && !expected {
			t.Errorf("%s cannot escape even bare: %s: %s", result.Probe.Name, result.Verdict, result.Reason)
		}
		if result.Verdict == Escaped && expected {
			t.Logf("%s escapes here, which was not expected: %s", result.Probe.Name, reason)
		}
	}
}

// The table is made of what the launchers do; what is asserted is only that they
// ran at all and that the probes do find walls.
func TestTable(t *testing.T) {
	l := newLaboratory(t)
	columns := []Column{l.column(t, Bare{l.program, l.outside.Victim})}
	for _, runner := range l.peers(t) {
		column := l.column(t, runner)
		for _, result := range column.Results {
			if slices.Contains(certainWalls, result.Probe.Name) && result.Verdict != Stopped {
				t.Errorf("%s: %s: %s: %s", runner.Name(), result.Probe.Name, result.Verdict, result.Reason)
			}
		}
		columns = append(columns, column)
	}
	columns = append(columns, l.sandboxColumn(t))
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

// certainWalls hold in every launcher with namespaces of its own.
var certainWalls = []string{
	"open", "open-upwards", "kill", "ptrace-attach", "proc-mem", "abstract-socket", "unix-socket",
	"tcp-loopback", "sysv-shared-memory", "host-mount-namespace", "host-pid-namespace",
}

// stoppedBare are probes that a bare run on some kernels stops, and why.
var stoppedBare = map[string]string{
	"x32":                   "needs a kernel with CONFIG_X86_X32_ABI",
	"load-module":           "needs a kernel with CONFIG_MODULES",
	"outside-process-group": "without a pid namespace there is no outside",
}
