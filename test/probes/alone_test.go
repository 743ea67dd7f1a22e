package probes

import (
	"context"
	"os/exec"
	"testing"
)

// alone runs the program as a user who may have one process: it cannot fork, as in
// a component with `processes: 1`.
type alone struct{ program string }

func (alone) Name() string { return "one process" }

func (a alone) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	// A user that nothing else runs as: the limit counts all processes of a user.
	line := []string{"--reuid=64123", "--regid=64123", "--clear-groups", "prlimit", "--nproc=1:1", a.program}
	return exec.CommandContext(ctx, "setpriv", append(line, arguments...)...), nil
}

// Each probe has to come to a verdict where it cannot fork.
func TestWithoutFork(t *testing.T) {
	if *byTheme {
		t.Skip("one that cannot fork needs a process of its own: make test-here runs it")
	}
	l := inLaboratory(t)
	for _, result := range l.column(t, alone{l.program}).Results {
		if _, missing := l.missing(result.Probe.Name); result.Verdict == Untested && !missing {
			t.Errorf("%s: %s", result.Probe.Name, result.Reason)
		}
		if result.Probe.Name == "flood-processes" && result.Verdict != Stopped {
			t.Errorf("the program could fork, so nothing was tested: %s", result.Reason)
		}
	}
}
