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
	line = append(line, fmt.Sprintf("PROBE_LIMIT_PIPES=%d", 256<<20))
	return exec.CommandContext(ctx, s.sandbox, line...), nil
}

func findSandbox() (string, error) {
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the probes need the launcher that they are about: run make first: %w", err)
	}
	return path, nil
}

// sandboxColumn runs every probe under Bulkhead. Our own rule: none gets
// through, and none is left untested.
func (l laboratory) sandboxColumn(t *testing.T) Column {
	t.Helper()
	sandbox, err := findSandbox()
	if err != nil {
		t.Fatal(err)
	}
	column := l.column(t, sandboxed{sandbox, l.program})
	for _, result := range column.Results {
		if result.Verdict != Stopped {
			t.Errorf("%s (%s; wall: %s): %s: %s", result.Probe.Name, result.Probe.Title, result.Probe.Wall,
				result.Verdict, result.Reason)
		}
	}
	return column
}
