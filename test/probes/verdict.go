package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Verdict is what came of a probe.
type Verdict string

const (
	Stopped  Verdict = "STOPPED"  // the attempt was refused
	Escaped  Verdict = "ESCAPED"  // its effect is there
	Untested Verdict = "UNTESTED" // nothing can be concluded
)

// Result is one probe under one runner.
type Result struct {
	Probe   Probe
	Verdict Verdict
	Reason  string
}

// A probe ends itself after 3 s, flood-processor after 7; the launcher gets some
// time of its own.
const patience = 12 * time.Second

// Run runs one probe. The error is for a launcher that did not run it at all.
func Run(runner Runner, probe Probe, outside *Outside, limits ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	terminals, err := outside.openTerminals()
	if err != nil {
		return Result{}, err
	}
	defer terminals.close()

	arguments := append([]string{"run", probe.Name}, outside.Targets...)
	arguments = append(arguments, terminals.targets()...)
	command, err := runner.Command(ctx, append(arguments, limits...)...)
	if err != nil {
		return Result{}, err
	}
	var output, complaints bytes.Buffer
	command.Stdout = &output
	command.Stderr = &complaints
	command.Env = append(os.Environ(), "LEAKED_BY_LAUNCHER="+outside.Secret)
	command.ExtraFiles = outside.leaks
	command.Stdin = terminals.own
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	command.WaitDelay = time.Second
	err = command.Run()
	if command.ProcessState == nil {
		return Result{}, fmt.Errorf("%s: %s: %w", runner.Name(), probe.Name, err)
	}
	if result, ok := reported(probe, output.String()); ok {
		return result, nil
	}
	if number, ok := deadlySignal(command.ProcessState); ok {
		return killed(probe, number), nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Result{probe, Untested, fmt.Sprintf("no answer within %v", patience)}, nil
	}
	return Result{}, fmt.Errorf("%s did not run %s: %w\n%s", runner.Name(), probe.Name, err, complaints.String())
}

// reported finds the program's line; a launcher may have written others.
func reported(probe Probe, output string) (Result, bool) {
	for line := range strings.Lines(output) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(fields) == 3 && fields[0] == probe.Name {
			return Result{probe, Verdict(fields[1]), fields[2]}, true
		}
	}
	return Result{}, false
}

// deadlySignal also reads the status 128+n by which launchers pass a signal on.
func deadlySignal(state *os.ProcessState) (syscall.Signal, bool) {
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return status.Signal(), true
	}
	if code := status.ExitStatus(); code > 128 && code < 128+65 {
		return syscall.Signal(code - 128), true
	}
	return 0, false
}

// killed judges a probe that could not fork and died in its only process, by the
// rule that the program itself has for the processes it forks.
func killed(probe Probe, number syscall.Signal) Result {
	switch number {
	case syscall.SIGSYS, syscall.SIGKILL, syscall.SIGXCPU, syscall.SIGXFSZ:
		return Result{probe, Stopped, "killed: " + number.String()}
	case syscall.SIGALRM:
		return Result{probe, Untested, "no answer within 3 s"}
	}
	return Result{probe, Untested, "the probe died: " + number.String()}
}

// RunAll runs every probe, one after another: many count what is open, running or
// used, and would see each other.
func RunAll(runner Runner, list []Probe, outside *Outside, limits ...string) ([]Result, error) {
	var results []Result
	for _, probe := range list {
		result, err := Run(runner, probe, outside, limits...)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}
