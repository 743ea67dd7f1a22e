// Package life runs the built bin/sandbox as root and looks at what its
// supervisor does for an application: logs, health, ends, starts on demand.
// Applications are named sup2-PID-…, with the pid of the test, so that these tests
// may run twice at the same time; nothing of them is left.
package life

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/test/transcript"
)

var binDirectory = flag.String("bin", "../../bin", "the `directory` that make build fills")

// Patience bounds everything that must come about by itself; in an emulated machine
// that takes longer.
var Patience = time.Minute

// Application is one run of bin/sandbox.
type Application struct {
	Name string // sup2-PID-…
	Dir  string // for files and sockets
	Said *transcript.Transcript

	t       *testing.T
	within  []string // what runs the programs elsewhere, such as nsenter
	command *exec.Cmd
	ended   chan struct{}
}

// New prepares an application; the test is skipped where it cannot run.
func New(t *testing.T, name string) *Application {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, which builds compartments")
	}
	return NewHere(t, name)
}

// NewHere prepares an application of whoever runs the test.
func NewHere(t *testing.T, name string) *Application {
	t.Helper()
	if _, err := os.Stat(filepath.Join(*binDirectory, "sandbox")); err != nil {
		t.Skipf("needs make build: %v", err)
	}
	dir, err := os.MkdirTemp("/tmp", "sup2-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a := &Application{Name: fmt.Sprintf("sup2-%d-%s", os.Getpid(), name), Dir: dir, Said: &transcript.Transcript{}, t: t}
	t.Cleanup(func() {
		if a.command != nil {
			a.Signal(unix.SIGTERM)
			a.Wait()
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", a.Name, a.Said)
		}
		os.RemoveAll(dir)
	})
	return a
}

// Policy writes a policy and returns its path. {{NAME}} and {{DIR}} stand for
// what this application has, {{PATIENCE}} for a time that is not the test's matter; {{SH}} is
// the beginning of a component that runs a shell script.
func (a *Application) Policy(text string) string {
	a.t.Helper()
	text = strings.NewReplacer("{{NAME}}", a.Name, "{{DIR}}", a.Dir, "{{PATIENCE}}", fmt.Sprintf("%dms", Patience.Milliseconds()),
		"{{SH}}", "files: {execute: [/bin/busybox], write: ["+a.Dir+"]}, user: root, command: [/bin/busybox, sh, -c, ").Replace(text)
	return a.File("policy.yaml", text)
}

// File writes a file and returns its path.
func (a *Application) File(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// Run starts the application of a policy.
func (a *Application) Run(policy string) *Application {
	a.t.Helper()
	return a.Start(nil, "run", a.Policy(policy))
}

// Start starts bin/sandbox in the foreground.
func (a *Application) Start(environment []string, arguments ...string) *Application {
	a.t.Helper()
	return a.StartWith(nil, environment, arguments...)
}

// StartWith starts bin/sandbox with files as descriptors 3 and on, which
// LISTEN_PID says are for it.
func (a *Application) StartWith(files []*os.File, environment []string, arguments ...string) *Application {
	a.t.Helper()
	line := append(slices.Clone(a.within), "/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, filepath.Join(*binDirectory, "sandbox"))
	line = append(line, arguments...)
	a.command = exec.Command(line[0], line[1:]...)
	a.command.ExtraFiles = files
	a.command.Stdout, a.command.Stderr = a.Said, a.Said
	a.command.Env = append(os.Environ(), environment...)
	a.command.WaitDelay = 3 * time.Second // for what is on its way when it has ended; an application of its may go on
	if err := a.command.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.ended = make(chan struct{})
	go func() {
		a.command.Wait()
		close(a.ended)
	}()
	return a
}

// Signal signals what Start started.
func (a *Application) Signal(s unix.Signal) { a.command.Process.Signal(s) }

// Wait returns its exit status.
func (a *Application) Wait() int {
	a.t.Helper()
	select {
	case <-a.ended:
	case <-time.After(Patience):
		a.t.Errorf("%s did not end within %v", a.Name, Patience)
		a.Signal(unix.SIGKILL)
		<-a.ended
	}
	return a.command.ProcessState.ExitCode()
}

// Expect waits until it has said text.
func (a *Application) Expect(text string) {
	a.t.Helper()
	a.Until("said "+text, func() bool { return strings.Contains(a.Said.String(), text) })
}

// Until waits for a condition.
func (a *Application) Until(what string, is func() bool) {
	a.t.Helper()
	for end := time.Now().Add(Patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("not so within %v: %s", Patience, what)
		}
	}
}

// Sandbox runs another command of bin/sandbox to its end.
func (a *Application) Sandbox(arguments ...string) string {
	a.t.Helper()
	b, _ := exec.Command(filepath.Join(*binDirectory, "sandbox"), arguments...).CombinedOutput()
	return string(b)
}

// InOrder waits until it has said all texts, behind what it had said of after, one after the other.
func (a *Application) InOrder(after string, texts ...string) {
	a.t.Helper()
	a.Until("said in order, after "+after+": "+strings.Join(texts, "; "), func() bool {
		_, said, found := strings.Cut(a.Said.String(), after)
		for _, text := range texts {
			if found {
				_, said, found = strings.Cut(said, text)
			}
		}
		return found
	})
}

// Read is the content of a file of Dir, "" when it is not there.
func (a *Application) Read(name string) string {
	b, _ := os.ReadFile(filepath.Join(a.Dir, name))
	return string(b)
}

// Remove removes a file of Dir.
func (a *Application) Remove(name string) { os.Remove(filepath.Join(a.Dir, name)) }

// Kill kills a process.
func (a *Application) Kill(pid string) {
	a.t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := unix.Kill(n, unix.SIGKILL); err != nil {
		a.t.Fatal(err)
	}
}

// pids are the processes of each component's workers.
func (a *Application) pids() map[string][]uint32 {
	a.t.Helper()
	var status control.Status
	if err := json.Unmarshal([]byte(a.Sandbox("status", "--json", a.Name)), &status); err != nil {
		a.t.Fatal(err)
	}
	all := map[string][]uint32{}
	for _, c := range status.Components {
		for _, w := range c.Workers {
			all[c.Name] = append(all[c.Name], w.PID)
		}
	}
	return all
}

// pidOf is the process of a component's one worker.
func (a *Application) pidOf(component string) (pid string) {
	a.t.Helper()
	a.Until("a worker of "+component, func() bool {
		pids := a.pids()[component]
		if len(pids) == 1 {
			pid = strconv.Itoa(int(pids[0]))
		}
		return pid != ""
	})
	return pid
}
