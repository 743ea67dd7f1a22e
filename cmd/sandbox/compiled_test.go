package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"bulkhead/broker/launch"
	"bulkhead/policy"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
	"bulkhead/test/golden"
)

const compiledDirectory = "../../sandbox/compiled"

// TestCompiledFilters compares the filters that are compiled into the program
// with what libseccomp makes of today's policies of the supervisor and of wrap.
func TestCompiledFilters(t *testing.T) {
	written, err := filepath.Glob(compiledDirectory + "/*.bpf")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, path := range written {
		left[filepath.Base(path)] = true
	}
	for _, c := range everyStart(t).Components {
		program, err := sandbox.CompileFilter(c.Syscalls)
		if err != nil {
			t.Fatal(err)
		}
		name := sandbox.Fingerprint(c.Syscalls) + ".bpf"
		path := filepath.Join(compiledDirectory, name)
		if golden.Updates() {
			if err := os.WriteFile(path, program, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("the filter of %s is not there (go test ./cmd/sandbox -run Compiled -update makes it): %v", c.Name, err)
		} else if !bytes.Equal(stored, program) {
			t.Errorf("the filter of %s is another than libseccomp's (go test ./cmd/sandbox -run Compiled -update writes it anew)", c.Name)
		}
		delete(left, name)
	}
	for name := range left {
		if golden.Updates() {
			os.Remove(filepath.Join(compiledDirectory, name))
			continue
		}
		t.Errorf("%s belongs to no filter (go test ./cmd/sandbox -run Compiled -update removes it)", name)
	}
}

// everyStart is the plan of `sandbox wrap -- busybox`, with the supervisor.
func everyStart(t *testing.T) *plan.Plan {
	t.Helper()
	w := wrapping{profile: "cli-tool"}
	busybox, err := findProgram("busybox")
	if err != nil {
		t.Fatal(err)
	}
	text, err := w.policy([]string{busybox})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := policy.Parse("wrap", text, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := compile(loaded, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addSupervisor(p, launch.Programs{Supervisor: self}); err != nil {
		t.Fatal(err)
	}
	return p
}
