package probes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sandboxed runs the program in a compartment of Bulkhead's own.
type sandboxed struct{ sandbox, program string }

func (sandboxed) Name() string { return "sandbox" }

func (s sandboxed) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	line := append([]string{
		"wrap", "--read", s.program, "--memory", "256M", "--processes", "64",
		"--set", "components.main.limits.cpu-time=1s", "--", s.program,
	}, arguments...)
	// Pipes count as memory, so their bound is the memory limit.
	line = append(line, fmt.Sprintf("PROBE_LIMIT_MEMORY=%d", 256<<20), fmt.Sprintf("PROBE_LIMIT_PIPES=%d", 256<<20))
	return exec.CommandContext(ctx, s.sandbox, line...), nil
}

func (l *laboratory) sandbox(t *testing.T) Runner {
	t.Helper()
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the probes need the launcher that they are about: run make first: %v", err)
	}
	return sandboxed{path, l.program}
}

// Our own rule: no probe gets out of a compartment of Bulkhead, and none is left
// untested that this kernel can run.
func TestNoProbeEscapes(t *testing.T) {
	l := inLaboratory(t)
	for _, result := range l.column(t, l.sandbox(t)).Results {
		if result.Verdict == Stopped {
			continue
		}
		if reason, missing := l.missing(result.Probe.Name); missing && result.Verdict == Untested {
			t.Run(result.Probe.Name, func(t *testing.T) { t.Skip(reason) })
			continue
		}
		t.Errorf("%s (%s; wall: %s): %s: %s", result.Probe.Name, result.Probe.Title, result.Probe.Wall,
			result.Verdict, result.Reason)
	}
}
