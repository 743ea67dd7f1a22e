// Command report reads the events of `go test -json` and prints what a person
// wants to know: a line for each package, the output of what failed, and at
// the end what ran, what did not and why. Its exit status is 1 when something
// failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
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
	results []result
	covered []coverage
	passed  int
	failed  int
	skipped int
	raced   []string
}

func main() {
	raced := flag.String("raced", "", "the packages that another run looked at with the race detector, for the last lines")
	flag.Parse()
	r := &report{out: os.Stdout, output: map[string][]string{}, raced: strings.Fields(*raced)}
	started := time.Now()
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if !r.finish(time.Since(started)) {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // not an event: show it
			continue
		}
		r.event(e)
	}
	return lines.Err()
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.pack(e)
			return
		}
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
	if percent, ok := covered(r.output[e.Package+" "]); ok {
		r.covered = append(r.covered, coverage{e.Package, percent})
	}
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "no tests"}[e.Action]
	fmt.Fprintf(r.out, "%-8s %-40s %6.1fs\n", word, e.Package, e.Elapsed)
	if e.Action == "fail" {
		named := slices.ContainsFunc(r.results, func(t result) bool { return t.pack == e.Package && t.action == "fail" })
		if !named {
			// Not a test but the package: a panic, a time-out, a build.
			r.failed++
			fmt.Fprint(r.out, strings.Join(r.output[e.Package+" "], ""))
		}
	}
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
	if len(r.covered) > 0 {
		fmt.Fprintf(r.out, "\nstatements that a package's own tests run\n")
	}
	for _, c := range r.covered {
		fmt.Fprintf(r.out, "  %-40s %5.1f%%\n", strings.TrimPrefix(c.pack, "bulkhead/"), c.percent)
	}
	fmt.Fprintf(r.out, "\nwhat did not run, and why\n")
	for _, t := range r.results {
		if t.action == "skip" {
			fmt.Fprintf(r.out, "  %s %s: %s\n", strings.TrimPrefix(t.pack, "bulkhead/"), t.test, t.reason)
		}
	}
	if r.skipped == 0 {
		fmt.Fprintln(r.out, "  nothing")
	}
	if len(r.raced) > 0 {
		fmt.Fprintf(r.out, "\nwith the race detector ran, before this\n  %s\n", strings.ReplaceAll(strings.Join(r.raced, " "), "./", ""))
	}
	for _, t := range r.results {
		if t.action == "fail" {
			fmt.Fprintf(r.out, "failed: %s %s\n", t.pack, t.test)
		}
	}
	fmt.Fprintf(r.out, "in %s\n%d passed, %d failed, %d skipped\n", took.Round(time.Second), r.passed, r.failed, r.skipped)
	return r.failed == 0
}
