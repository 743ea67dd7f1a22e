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

// Patience bounds one run of a launcher with a probe in it. The probe ends itself
// after a quarter of that, flood-processor after half and a second; the launcher
// gets some time of its own. All of it is for what hangs: on a busy machine a second
// of processor time may take a minute.
var Patience = 4 * time.Minute

func probeSeconds() int { return int(Patience.Seconds()) / 4 }

// Run runs probes in one fresh compartment, one after another, and returns what came
// of the first of them: of one at least, of all if none ended the program. The error
// is for a launcher that did not run any.
func Run(runner Runner, probes []Probe, outside *Outside) ([]Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(len(probes))*Patience)
	defer cancel()
	terminals, err := outside.openTerminals()
	if err != nil {
		return nil, err
	}
	defer terminals.close()

	arguments := []string{"run"}
	for _, probe := range probes {
		arguments = append(arguments, probe.Name)
	}
	arguments = append(arguments, fmt.Sprintf("PROBE_SECONDS=%d", probeSeconds()))
	arguments = append(arguments, outside.Targets...)
	arguments = append(arguments, terminals.targets()...)
	command, err := runner.Command(ctx, arguments...)
	if err != nil {
		return nil, err
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
		return nil, fmt.Errorf("%s: %s: %w", runner.Name(), probes[0].Name, err)
	}
	var results []Result
	for _, probe := range probes {
		result, ok := reported(probe, output.String())
		if !ok {
			break
		}
		results = append(results, result)
	}
	if len(results) > 0 {
		return results, nil
	}
	if number, ok := deadlySignal(command.ProcessState); ok {
		return []Result{killed(probes[0], number)}, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return []Result{{probes[0], Untested, fmt.Sprintf("no answer within %v", time.Duration(len(probes))*Patience)}}, nil
	}
	return nil, fmt.Errorf("%s did not run %s: %w\n%s", runner.Name(), probes[0].Name, err, complaints.String())
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
		return Result{probe, Untested, fmt.Sprintf("no answer within %d s", probeSeconds())}
	}
	return Result{probe, Untested, "the probe died: " + number.String()}
}
