package probes

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var prebuilt = flag.String("program", "", "the probes' `program`, where there is no compiler to make it")

var byTheme = flag.Bool("by-theme", false, "give the probes of one theme a compartment together, where a start takes long; else each gets its own")

func init() {
	flag.DurationVar(&Patience, "patience", Patience, "how long one probe may take, with its launcher; a machine that is emulated takes longer")
}

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	theLaboratory.close()
	os.Exit(status)
}

// laboratory is the program, what it aims at, the list of probes, and what was
// found so far. The tests share one: each column takes a while.
type laboratory struct {
	program, directory string
	outside            *Outside
	list               []Probe
	columns            map[string]Column // by the runner's name
	kernel             kernelVersion
}

var theLaboratory = new(laboratory)

// inLaboratory returns the laboratory, set up at the first call.
func inLaboratory(t *testing.T) *laboratory {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the neighbour that probes aim at belongs to root: run as root")
	}
	if theLaboratory.outside == nil {
		if err := theLaboratory.open(); err != nil {
			t.Fatal(err)
		}
	}
	return theLaboratory
}

func (l *laboratory) open() (err error) {
	if l.kernel, err = thisKernel(); err != nil {
		return err
	}
	// On a disk: probes that go round the mounts need a device behind the secret.
	if l.directory, err = os.MkdirTemp("/var/tmp", "bulkhead-probes-"); err != nil {
		return err
	}
	if err := os.Chmod(l.directory, 0o755); err != nil {
		return err
	}
	if *prebuilt == "" {
		l.program, err = Build("program", l.directory)
	} else {
		// On the same disk: its own file is a way to others there.
		l.program = filepath.Join(l.directory, "probe")
		err = copyProgram(*prebuilt, l.program)
	}
	if err != nil {
		return err
	}
	if l.list, err = List(l.program); err != nil {
		return err
	}
	l.columns = map[string]Column{}
	l.outside, err = NewOutside(l.program, l.directory)
	return err
}

func (l *laboratory) close() {
	if l.outside != nil {
		l.outside.Close()
	}
	if l.directory != "" {
		os.RemoveAll(l.directory)
	}
}

// abreast is how many of the first probes get one compartment.
func (l *laboratory) abreast(probes []Probe) int {
	n := 1
	for *byTheme && n < len(probes) && probes[n].Theme == probes[0].Theme {
		n++
	}
	return n
}

// column runs every probe under a runner, once for all tests; one after another,
// because many count what is open, running or used, and would see each other.
func (l *laboratory) column(t *testing.T, runner Runner) Column {
	t.Helper()
	if column, made := l.columns[runner.Name()]; made {
		return column
	}
	column := Column{Runner: runner.Name()}
	for left := l.list; len(left) > 0; {
		results, err := Run(runner, left[:l.abreast(left)], l.outside)
		if err != nil {
			t.Fatal(err)
		}
		left = left[len(results):]
		column.Results = append(column.Results, results...)
		for _, result := range results {
			t.Logf("%-24s %-8s %s", result.Probe.Name, result.Verdict, result.Reason)
		}
	}
	t.Logf("%s: %d stopped, %d escaped, %d untested", runner.Name(),
		column.Count(Stopped), column.Count(Escaped), column.Count(Untested))
	l.columns[runner.Name()] = column
	return column
}
