// Command report reads the events of `go test -json` and prints what a person
// wants to know: a line for each package, the output of what failed, and at
// the end what ran, what did not and why. Its exit status is 1 when something
// failed, did not end, or nothing ran at all. With TEST_SUMMARY in its
// environment it appends that to this file, for command lanes.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"bulkhead/test/summary"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
	// Of a build that failed, which has no Package.
	ImportPath string
}

// result is what became of a test, or of a package where test is empty.
type result struct{ pack, test, action, reason string }

// coverage is how much of a package its own tests run, in percent. What other
// packages' tests run of it, in programs that they start, is not counted.
type coverage struct {
	pack    string
	percent float64
}

type report struct {
	out     io.Writer
	output  map[string][]string // by package and test
	open    []result            // started and not ended: packages, and tests
	ended   map[string]string   // how each package ended
	results []result
	covered []coverage
	passed  int
	failed  int
	skipped int
	raced   []string
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[string][]string{}, ended: map[string]string{}}
}

func main() {
	raced := flag.String("raced", "", "the packages that another run looked at with the race detector, for the last lines")
	flag.Parse()
	r := newReport(os.Stdout)
	r.raced = strings.Fields(*raced)
	started := time.Now()
	// Who ends the run early gets the lines about what had ended by then.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if err := r.read(os.Stdin, stop); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	good := r.finish(time.Since(started))
	if file := os.Getenv("TEST_SUMMARY"); file != "" {
		if err := r.summary().Append(file); err != nil {
			fmt.Fprintln(os.Stderr, "report: say what ran:", err)
			os.Exit(2)
		}
	}
	if !good {
		os.Exit(1)
	}
}

// read takes the events until they end, or until a signal comes.
func (r *report) read(in io.Reader, stop <-chan os.Signal) error {
	lines, broken := make(chan []byte), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			lines <- slices.Clone(scanner.Bytes())
		}
		broken <- scanner.Err()
	}()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return <-broken
			}
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				fmt.Fprintf(r.out, "%s\n", line) // not an event: show it
				continue
			}
			r.event(e)
		case <-stop:
			fmt.Fprintln(r.out, "report: ended by a signal, before the tests were over")
			return nil
		}
	}
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "start", "run":
		r.open = append(r.open, result{pack: e.Package, test: e.Test})
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.pack(e)
			return
		}
		r.open = slices.DeleteFunc(r.open, func(o result) bool { return o.pack == e.Package && o.test == e.Test })
		r.results = append(r.results, result{e.Package, e.Test, e.Action, reason(r.output[key])})
		switch e.Action {
		case "pass":
			r.passed++
		case "fail":
			r.failed++
			fmt.Fprintf(r.out, "FAILED %s %s\n%s", e.Package, e.Test, strings.Join(r.output[key], ""))
		case "skip":
			r.skipped++
		}
		delete(r.output, key)
	}
}

func (r *report) pack(e event) {
	if r.ended[e.Package] == "fail" && e.Action == "fail" {
		return // of a machine: its tests' end, and its own
	}
	r.ended[e.Package] = e.Action
	if percent, ok := covered(r.output[e.Package+" "]); ok {
		r.covered = append(r.covered, coverage{e.Package, percent})
	}
	r.unended(e.Package)
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "no tests"}[e.Action]
	fmt.Fprintf(r.out, "%-8s %-40s %6.1fs\n", word, e.Package, e.Elapsed)
	if e.Action == "fail" {
		named := slices.ContainsFunc(r.results, func(t result) bool { return t.pack == e.Package && t.action == "fail" })
		if !named {
			// Not a test but the package: a build, a TestMain, a machine.
			r.failure(e.Package, "", "")
		}
	}
}

// unended counts the tests of a package that have no end although it has: one
// of them hung, or a panic, or the machine below them, ended it. What was said
// last was said by one of them.
func (r *report) unended(pack string) {
	for _, o := range r.open {
		if o.pack == pack && o.test != "" {
			r.failure(pack, o.test, ", which did not end")
		}
	}
	r.open = slices.DeleteFunc(r.open, func(o result) bool { return o.pack == pack })
}

// failure counts and shows what failed without saying so itself.
func (r *report) failure(pack, test, how string) {
	r.failed++
	r.results = append(r.results, result{pack, test, "fail", ""})
	fmt.Fprintf(r.out, "FAILED %s%s\n%s", strings.TrimSpace(pack+" "+test), how, strings.Join(r.output[pack+" "+test], ""))
}

// covered reads the line that go test -cover prints for a package.
func covered(output []string) (percent float64, ok bool) {
	for _, line := range output {
		if after, found := strings.CutPrefix(strings.TrimSpace(line), "coverage: "); found {
			if n, _ := fmt.Sscanf(after, "%f%% of statements", &percent); n == 1 {
				return percent, true
			}
		}
	}
	return 0, false
}

// reason is what a skipped test said.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "---") || strings.HasPrefix(text, "===") {
			continue
		}
		if _, said, ok := strings.Cut(text, ": "); ok {
			return said
		}
		return text
	}
	return "it does not say why"
}

func (r *report) finish(took time.Duration) bool {
	for len(r.open) > 0 { // those of packages that have no end
		pack := r.open[0].pack
		r.unended(pack)
		r.failure(pack, "", ", which did not end")
	}
	if len(r.ended) == 0 && r.failed == 0 {
		r.failure("everything", "", ": no package has run")
	}
	if len(r.covered) > 0 {
		fmt.Fprintf(r.out, "\nstatements that a package's own tests run\n")
	}
	for _, c := range r.covered {
		fmt.Fprintf(r.out, "  %-40s %5.1f%%\n", strings.TrimPrefix(c.pack, "bulkhead/"), c.percent)
	}
	s := r.summary()
	fmt.Fprintf(r.out, "\nwhat did not run, and why\n")
	s.WriteAbsent(r.out)
	if len(r.raced) > 0 {
		fmt.Fprintf(r.out, "\nwith the race detector ran, before this\n  %s\n", strings.ReplaceAll(strings.Join(r.raced, " "), "./", ""))
	}
	s.WriteFailures(r.out)
	fmt.Fprintf(r.out, "in %s\n%s\n", took.Round(time.Second), s.Counts())
	return r.failed == 0
}

func (r *report) summary() summary.Summary {
	s := summary.Summary{Passed: r.passed, Failed: r.failed, Skipped: r.skipped}
	for _, t := range r.results {
		switch t.action {
		case "skip":
			s.Absent = append(s.Absent, summary.Absent{Package: t.pack, Test: t.test, Reason: t.reason})
		case "fail":
			s.Failures = append(s.Failures, strings.TrimSpace(t.pack+" "+t.test))
		}
	}
	return s
}
