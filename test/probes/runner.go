package probes

import (
	"context"
	"fmt"
	"os/exec"
)

// Runner runs command lines in compartments of one kind.
type Runner interface {
	// Name heads the runner's column in the table.
	Name() string

	// Command prepares a process that runs the probe program with these
	// arguments in a fresh compartment. The caller sets its standard streams,
	// environment and leaked descriptors, and starts it.
	Command(ctx context.Context, arguments ...string) (*exec.Cmd, error)
}

// Available says why a launcher cannot be used here, or nothing.
func Available(program string) error {
	_, err := exec.LookPath(program)
	return err
}

// Bare runs the program without any compartment. What it stops, no launcher can
// take credit for. The machine's own process 1 is left alone: the neighbour plays it.
type Bare struct {
	Program string
	Init    int
}

func (Bare) Name() string { return "bare, as root" }

func (b Bare) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	arguments = append(arguments, fmt.Sprintf("PROBE_INIT_PID=%d", b.Init))
	return exec.CommandContext(ctx, b.Program, arguments...), nil
}

// Bubblewrap runs it with every namespace that bwrap offers and nothing else to see.
type Bubblewrap struct{ Program string }

func (Bubblewrap) Name() string { return "bubblewrap" }

func (b Bubblewrap) Command(ctx context.Context, arguments ...string) (*exec.Cmd, error) {
	line := []string{
		"--unshare-all", "--ro-bind", b.Program, "/probe", "--proc", "/proc", "--dev", "/dev",
		"--die-with-parent", "/probe",
	}
	return exec.CommandContext(ctx, "bwrap", append(line, arguments...)...), nil
}
