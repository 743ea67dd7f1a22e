// Package e2e runs the built bin/sandbox as a user would, as root, and looks at
// the machine afterwards: whatever happens, nothing may be left.
//
//	application.go  one application: its policy, its run, its end
//	output.go       what it writes
//	process.go      who belongs to it, and as what
//	leftovers.go    what is on the machine that was not there before
//	terminal.go     a pseudo-terminal to run it on
//	site.go         the copy of bin/ under test, and the program that plays components
//	program/        what components do here, if they are honest
//	hostile/        and if they are not
//
// Applications are named e2e-PID-…, with the pid of the test; whatever else runs
// on the machine is not looked at, so others may work on it meanwhile, and be
// these tests.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/test/loopback"

	"golang.org/x/sys/unix"
)

// patience bounds everything that must come to an end by itself. A machine
// that is emulated or busy takes longer, and nothing else waits for it.
var patience = flag.Duration("patience", time.Minute, "how long what must come about by itself may take")

// Application is one application under test.
type Application struct {
	Name   string // e2e-PID-…
	Dir    string // a directory that everybody may enter, for files and sockets
	Policy string // the policy file
	Out    *Output
	Err    *Output

	t       *testing.T
	site    *Site
	before  *Snapshot
	seen    namespaces // of its processes, as long as it ran
	command *exec.Cmd
	ended   chan struct{}
	status  int
	ports   []int
}

// New prepares an application. When the test ends it is killed if it still
// runs, and everything it left is a failure of the test.
func New(t *testing.T, name string) *Application {
	t.Helper()
	a := &Application{Name: fmt.Sprintf("e2e-%d-%s", os.Getpid(), name), t: t, site: site(t), seen: namespaces{}}
	dir, err := makeDirectory("e2e-")
	if err != nil {
		t.Fatal(err)
	}
	a.Dir = dir
	a.Policy = filepath.Join(a.Dir, "policy.yaml")
	a.before = a.snapshot()
	t.Cleanup(func() {
		if a.running() {
			a.Signal(unix.SIGKILL)
			a.Wait()
		}
		a.ExpectNothingLeft(*patience)
		if t.Failed() && a.Out != nil {
			t.Logf("standard output of %s:\n%s\nstandard error:\n%s", a.Name, a.Out, a.Err)
		}
		os.RemoveAll(a.Dir)
	})
	return a
}

// Write writes the policy. {{NAME}}, {{DIR}}, {{PROGRAM}}, {{BUSYBOX}} and
// {{PORT}} stand for what this run has.
func (a *Application) Write(policy string) *Application {
	a.t.Helper()
	a.File("policy.yaml", a.fill(policy))
	return a
}

func (a *Application) fill(text string) string {
	if strings.Contains(text, "{{PORT}}") && len(a.ports) == 0 {
		a.ports = append(a.ports, loopback.Number(a.t))
	}
	port := 0
	if len(a.ports) > 0 {
		port = a.ports[0]
	}
	return strings.NewReplacer(
		"{{NAME}}", a.Name, "{{DIR}}", a.Dir, "{{PROGRAM}}", a.site.Program,
		"{{BUSYBOX}}", a.site.Busybox, "{{PORT}}", fmt.Sprint(port),
	).Replace(text)
}

// Port is the one that {{PORT}} stands for.
func (a *Application) Port() int { return a.ports[0] }

// File writes a file into the application's directory and returns its path.
func (a *Application) File(name, content string) string {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// Run starts `sandbox run POLICY`.
func (a *Application) Run(flags ...string) *Application {
	a.t.Helper()
	return a.Command(append(append([]string{"run"}, flags...), a.Policy)...)
}

// Command starts bin/sandbox with arguments.
func (a *Application) Command(arguments ...string) *Application {
	a.t.Helper()
	a.command = exec.Command(a.site.Sandbox, arguments...)
	a.start()
	return a
}

func (a *Application) start() {
	a.t.Helper()
	a.Out, a.Err = newOutput(), newOutput()
	a.command.Stderr = a.Err
	if a.command.Stdout == nil {
		a.command.Stdout = a.Out
	}
	// Components that outlive the broker must not keep Wait from returning:
	// that they do is what Leftovers is there to find.
	a.command.WaitDelay = 2 * time.Second
	if err := a.command.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.ended = make(chan struct{})
	go func() {
		a.command.Wait()
		a.status = exitStatus(a.command.ProcessState)
		a.Out.close()
		a.Err.close()
		close(a.ended)
	}()
}

// exitStatus is what a shell would call it.
func exitStatus(s *os.ProcessState) int {
	if w := s.Sys().(syscall.WaitStatus); w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// Pid is the broker's: of the launcher, and after that of the monitor.
func (a *Application) Pid() int { return a.command.Process.Pid }

func (a *Application) running() bool {
	if a.ended == nil {
		return false
	}
	select {
	case <-a.ended:
		return false
	default:
		return true
	}
}

// Ready waits until the application is up.
func (a *Application) Ready() *Application {
	a.t.Helper()
	a.Expect(a.Err, "application "+a.Name+": up after")
	a.note()
	return a
}

// Expect waits until a stream contains text.
func (a *Application) Expect(o *Output, text string) {
	a.t.Helper()
	if !o.wait(text, *patience) {
		a.t.Fatalf("%q did not come within %v (running: %v)", text, *patience, a.running())
	}
}

// Signal sends a signal to the broker.
func (a *Application) Signal(s unix.Signal) { a.command.Process.Signal(s) }

// Wait waits for the end and returns the exit status.
func (a *Application) Wait() int {
	a.t.Helper()
	select {
	case <-a.ended:
	case <-time.After(*patience):
		all := a.Processes()
		a.t.Errorf("%s did not end within %v; it has %v", a.Name, *patience, all)
		for _, role := range []Role{Supervisor, Monitor} {
			for _, p := range all {
				if p.Role == role {
					p.Kill(unix.SIGQUIT) // Go's runtime says where each goroutine stands
					time.Sleep(200 * time.Millisecond)
				}
			}
		}
		a.Signal(unix.SIGKILL)
		<-a.ended
	}
	return a.status
}

// Stop asks the application to stop and returns the exit status. Nothing may
// be left from the moment on at which the broker has ended.
func (a *Application) Stop() int {
	a.t.Helper()
	a.Signal(unix.SIGTERM)
	status := a.Wait()
	a.ExpectNothingLeft(0)
	return status
}

// ExpectStatus waits for the end and compares the exit status.
func (a *Application) ExpectStatus(want int) {
	a.t.Helper()
	if status := a.Wait(); status != want {
		a.t.Errorf("%s ended with status %d, not %d", a.Name, status, want)
	}
	a.ExpectNothingLeft(0)
}

// Lines are the lines that a component has written so far.
func (a *Application) Lines(component string) []string {
	var lines []string
	for line := range strings.Lines(a.Out.String()) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		if ok && strings.TrimSpace(name) == component {
			lines = append(lines, text)
		}
	}
	return lines
}

// eventually waits for a condition.
func (a *Application) eventually(what string, condition func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(*patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("not so within %v: %s; there are %v", *patience, what, a.Processes())
		}
	}
}
