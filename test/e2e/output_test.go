package e2e

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const speakers = `
application: {{NAME}}
components:
  web:    {command: [{{BUSYBOX}}, sh, -c, "echo one; echo two >&2; printf unfinished"], restart: never}
  longer: {command: [{{BUSYBOX}}, sh, -c, "echo three"], restart: never, after: web}
`

// Lines have their component's name in front, in a column; a pipe gets them
// without a single escape.
func TestOutputInPipe(t *testing.T) {
	a := New(t, "output").Write(speakers).Run()
	a.ExpectStatus(0)
	lines := strings.Split(strings.TrimSpace(a.Out.String()), "\n")
	slices.Sort(lines) // two components, and two streams of one, have no order
	want := []string{"longer     | three", "web        | one", "web        | two", "web        | unfinished"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q, not %q", lines, want)
	}
	if text := a.Out.String() + a.Err.String(); strings.Contains(text, "\x1b") {
		t.Errorf("there are escapes in %q", text)
	}
}

func TestOutputOnTerminal(t *testing.T) {
	a := New(t, "output").Write(speakers)
	a.onTerminal([]string{"NO_COLOR=", "TERM=xterm"}, "run", a.Policy)
	a.ExpectStatus(0)
	if !regexp.MustCompile("\x1b\\[[0-9]+mweb +\\|\x1b\\[0m one").MatchString(a.Out.String()) {
		t.Errorf("no name in colour in %q", a.Out)
	}
}

func TestOutputOnTerminalWithoutColor(t *testing.T) {
	a := New(t, "output").Write(speakers)
	a.onTerminal([]string{"NO_COLOR=1", "TERM=xterm"}, "run", a.Policy)
	a.ExpectStatus(0)
	if text := a.Out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "web        | one") {
		t.Errorf("%q has escapes, or not the lines", text)
	}
}

// What a component writes cannot act on the terminal of who reads it.
func TestOutputCannotActOnTerminal(t *testing.T) {
	a := New(t, "output").Write(`
application: {{NAME}}
components:
  web: {command: [{{BUSYBOX}}, printf, '\033]0;title\007\033[2J\033[6n\n'], restart: never}
`)
	a.onTerminal([]string{"NO_COLOR=", "TERM=xterm"}, "run", a.Policy)
	a.ExpectStatus(0)
	if !strings.Contains(a.Out.String(), "^[]0;title^G^[[2J^[[6n") {
		t.Errorf("%q", a.Out)
	}
}

// ^C at a terminal reaches the broker and not the components, which have a
// session of their own; it stops everything in order, and twice at once.
func TestInterruptAtTerminal(t *testing.T) {
	a := New(t, "interrupt").Write(sleeper)
	keyboard := a.onTerminal(nil, "run", a.Policy)
	a.Ready()
	keyboard.Write([]byte{3})
	a.ExpectStatus(0)
	if !strings.Contains(a.Err.String(), "component web: stopped: killed by SIGTERM") {
		t.Errorf("it was not stopped in order:\n%s", a.Err)
	}
}

// A reader that goes away takes nothing with it: the components run on.
func TestReaderGoesAway(t *testing.T) {
	a := New(t, "reader").Write(`
application: {{NAME}}
components:
  web: {command: [{{BUSYBOX}}, sh, -c, "while :; do echo line; sleep 0.02; done"]}
`)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.command = exec.Command(a.site.Sandbox, "run", a.Policy)
	a.command.Stdout = write
	a.start()
	write.Close()
	if _, err := io.ReadFull(read, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	read.Close()
	a.Ready()
	before := a.Of(Program, "web")
	time.Sleep(300 * time.Millisecond) // a dozen more lines
	if after := a.Of(Program, "web"); len(after) != 1 || len(before) != 1 || after[0] != before[0] {
		t.Errorf("%v ran before, %v after", before, after)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}
