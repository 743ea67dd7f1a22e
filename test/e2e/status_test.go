package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An application of one component ends as its program ends.
func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		name    string
		command string
		want    int
	}{
		{"zero", `[{{PROGRAM}}, program, exit, "0"]`, 0},
		{"one", `[{{PROGRAM}}, program, exit, "1"]`, 1},
		{"own-255", `[{{PROGRAM}}, program, exit, "255"]`, 255},
		{"sigsegv", `[{{BUSYBOX}}, sh, -c, "kill -SEGV $$"]`, 128 + 11},
		{"sigkill", `[{{BUSYBOX}}, sh, -c, "kill -KILL $$"]`, 128 + 9},
		{"sigterm", `[{{BUSYBOX}}, sh, -c, "kill -TERM $$"]`, 128 + 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "status-"+c.name).Write(`
application: {{NAME}}
components:
  main: {command: ` + c.command + `, restart: never}
`).Run()
			a.ExpectStatus(c.want)
		})
	}
}

// 126 and 127 are the program's file being unusable or missing, whenever that
// is found out.
func TestExitStatusOfWhatCannotRun(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(path string) error
		want    int
	}{
		{"missing", func(string) error { return nil }, 127},
		{"not-executable", func(path string) error { return os.WriteFile(path, []byte("#!/bin/true\n"), 0o644) }, 126},
		{"directory", func(path string) error { return os.Mkdir(path, 0o755) }, 126},
		{"no-format", func(path string) error { return os.WriteFile(path, []byte("this is no program\n"), 0o755) }, 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "cannot-"+c.name)
			path := a.Dir + "/program"
			if err := c.prepare(path); err != nil {
				t.Fatal(err)
			}
			a.Write("application: {{NAME}}\ncomponents:\n  main: {command: [{{DIR}}/program], restart: never}\n").Run()
			a.ExpectStatus(c.want)
			if !strings.Contains(a.Err.String(), path) {
				t.Errorf("the message does not name %s:\n%s", path, a.Err)
			}
			a.Command("wrap", "--", path)
			a.ExpectStatus(c.want)
		})
	}
}

// wrap has the program's own standard input, output, error and exit status.
func TestWrap(t *testing.T) {
	s := site(t)
	c := exec.Command(s.Sandbox, "wrap", "--", s.Busybox, "sh", "-c", "read line; echo got $line; exit 9")
	c.Stdin = strings.NewReader("words\n")
	out, err := c.Output()
	if status := exitStatus(c.ProcessState); status != 9 {
		t.Errorf("status %d (%v), not 9", status, err)
	}
	if string(out) != "got words\n" {
		t.Errorf("it wrote %q", out)
	}
}

// The first signal stops in order and ends with 0, as every daemon that is
// told to stop; the order is that of starting, backwards.
func TestStopInOrder(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		t.Run(unix.SignalName(signal), func(t *testing.T) {
			a := New(t, "stop").Write(`
application: {{NAME}}
components:
  third:  {command: [{{BUSYBOX}}, sleep, "1000"], after: second}
  second: {command: [{{BUSYBOX}}, sleep, "1000"], after: first}
  first:  {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run().Ready()
			a.Signal(signal)
			a.ExpectStatus(0)
			expectInOrder(t, a.Err.String(),
				"component first: ready", "component second: ready", "component third: ready",
				"component third: stopped", "component second: stopped", "component first: stopped")
		})
	}
}

func expectInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("%q does not come in its turn (%q) in:\n%s", part, parts, text)
		}
		rest = after
	}
}

// Under nohup(1) the end of the terminal's session is not that of the application.
func TestHangUpIsIgnored(t *testing.T) {
	a := New(t, "nohup").Write(sleeper)
	a.command = exec.Command("nohup", a.site.Sandbox, "run", a.Policy)
	a.start()
	a.Ready()
	// That is the broker's affair; programs have what they ask for themselves.
	if ignored := statusLine("/proc/"+itoa(a.Of(Program, "web")[0].Pid), "SigIgn:"); strings.Trim(ignored, "0 \t\n") != "" {
		t.Errorf("its program ignores %s", ignored)
	}
	a.Signal(unix.SIGHUP)
	a.Signal(unix.SIGTERM)
	a.ExpectStatus(0)
	if text := a.Err.String(); !strings.Contains(text, "stops: SIGTERM") || strings.Contains(text, "SIGHUP") {
		t.Errorf("it said:\n%s", text)
	}
}

// A component that does not stop holds the end up until its time is over.
func TestStopTimeout(t *testing.T) {
	a := New(t, "stop-timeout").Write(`
application: {{NAME}}
components:
  deaf: {command: [{{PROGRAM}}, program, stubborn], stop-timeout: 300ms}
`).Run().Ready()
	a.Expect(a.Out, "stays")
	a.Signal(unix.SIGTERM)
	a.ExpectStatus(0)
	if !strings.Contains(a.Err.String(), "killed: it did not stop within 300ms") {
		t.Errorf("nothing says why it was killed:\n%s", a.Err)
	}
}

// The second signal ends everything at once, whatever time there was.
func TestSecondSignal(t *testing.T) {
	a := New(t, "second-signal").Write(`
application: {{NAME}}
components:
  deaf: {command: [{{PROGRAM}}, program, stubborn], stop-timeout: 10m}
`).Run().Ready()
	a.Expect(a.Out, "stays")
	// A second one that comes at once is the first one's echo: timeout(1)
	// signals its child and then the whole group. Of another kind, because two of
	// one kind may be one.
	a.Signal(unix.SIGINT)
	a.Signal(unix.SIGTERM)
	a.Expect(a.Err, "stops: SIGINT")
	time.Sleep(500 * time.Millisecond)
	if len(a.Of(Program, "deaf")) != 1 {
		t.Errorf("the echo of a signal killed it:\n%s", a.Err)
	}
	a.Signal(unix.SIGINT)
	a.Wait()
	a.ExpectNothingLeft(0)
	if !strings.Contains(a.Err.String(), "SIGINT again: everything is killed") {
		t.Errorf("nothing says what happened:\n%s", a.Err)
	}
}
