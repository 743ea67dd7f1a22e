package peer

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Run runs a program as a worker of a peer and returns its standard output.
// A program that fails, or is not done after a minute, fails the test.
func Run(t testing.TB, environment []string, name string, arguments ...string) string {
	t.Helper()
	socket := Start(t)
	ctx := t.Context()
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), append(environment, "SANDBOX_BROKER_FD=3")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The program's end of the socket is its own alone, so that it ends when
	// the program does.
	socket.Close()
	stop := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stop.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// ExampleOutput is what the example of each language prints when it is run
// with the arguments store, greeting and upper.
const ExampleOutput = "hello\nHELLO\nupper: exited with status 0\n"

// Build runs a compiler; its failure fails the test.
func Build(t testing.TB, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, out)
	}
}
