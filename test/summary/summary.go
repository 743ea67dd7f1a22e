// Package summary is what the last lines of a run of tests say: what ran, what
// did not and why. Command report makes one of a run; command lanes prints
// those of several runs, so that the last lines of `make test` hold for all.
package summary

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Summary is what became of the tests of one run.
type Summary struct {
	Passed, Failed, Skipped int
	// Failures are tests, and packages that failed outside of any test.
	Failures []string
	Absent   []Absent
}

// Absent is a test of a package that was skipped, and the reason it gave.
type Absent struct{ Package, Test, Reason string }

// Counts in the words of a last line.
func (s Summary) Counts() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", s.Passed, s.Failed, s.Skipped)
}

// WriteAbsent writes what did not run, one line for each reason of a package.
func (s Summary) WriteAbsent(out io.Writer) {
	type cause struct{ pack, reason string }
	tests := map[cause][]string{}
	var order []cause
	for _, a := range s.Absent {
		c := cause{strings.TrimPrefix(a.Package, "bulkhead/"), a.Reason}
		if tests[c] == nil {
			order = append(order, c)
		}
		tests[c] = append(tests[c], a.Test)
	}
	for _, c := range order {
		fmt.Fprintf(out, "  %s %s: %s\n", c.pack, strings.Join(tests[c], ", "), c.reason)
	}
	if len(order) == 0 {
		fmt.Fprintln(out, "  nothing")
	}
}

// WriteFailures writes a line for each.
func (s Summary) WriteFailures(out io.Writer) {
	for _, f := range s.Failures {
		fmt.Fprintf(out, "failed: %s\n", f)
	}
}

// Append adds s to the file, where Load finds it.
func (s Summary) Append(file string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}

// Load reads what runs have appended to the file, as one; a file that is not
// there is of runs that count nothing.
func Load(file string) (s Summary, runs int, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, err
	}
	defer f.Close()
	for in := json.NewDecoder(f); ; runs++ {
		var one Summary
		if err := in.Decode(&one); err == io.EOF {
			return s, runs, nil
		} else if err != nil {
			return s, runs, fmt.Errorf("read the summary of a run in %s: %w", file, err)
		}
		s.Passed += one.Passed
		s.Failed += one.Failed
		s.Skipped += one.Skipped
		s.Failures = append(s.Failures, one.Failures...)
		s.Absent = append(s.Absent, one.Absent...)
	}
}
