package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program writes an executable script of busybox's shell.
func (a *Application) script(name, text string) string {
	a.t.Helper()
	path := a.File(name, "#!"+a.site.Busybox+" sh\n"+text)
	if err := os.Chmod(path, 0o755); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// copyBusybox puts the program of a test's helper into its directory: one
// that is not the parent's own.
func (a *Application) copyBusybox(name string) string {
	a.t.Helper()
	path := filepath.Join(a.Dir, name)
	if err := copyProgram(a.site.Busybox, path); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// A shell that nobody told anything executes programs of other components,
// and sees what it would have seen.
func TestSplitShell(t *testing.T) {
	a := New(t, "split-shell")
	a.script("helper", `
case $1 in
say) shift; for word; do echo "argument $word"; done; echo "variable $GIVEN" ;;
status) exit "$2" ;;
die) kill -"$2" $$; sleep 10 ;;
upper) tr a-z A-Z ;;
where) pwd; umask ;;
number) echo "$$" ;;
secret) cat "$2" ;;
again) "${0%helper}inner" x ;;
background) (sleep 1000; echo never) >/dev/null 2>&1 & exit 0 ;;
esac
`)
	a.script("inner", `echo "inner $(cat /etc/hostname 2>/dev/null || hostname)"`)
	a.File("secret", "the secret\n")
	a.Write(`
application: {{NAME}}
components:
  shell:
    command:
      - {{BUSYBOX}}
      - sh
      - -c
      - |
        h={{DIR}}/helper
        GIVEN=yes LD_PRELOAD=/no.so $h say "two words" "" last
        $h status 7; echo "status $?"
        $h die KILL; echo "status $?"
        $h die TERM; echo "status $?"
        echo hello | $h upper | cat
        echo up | $h upper | $h upper
        cd /tmp; umask 033; $h where
        $h number & echo "number $!"; wait
        $h secret {{DIR}}/secret
        cat {{DIR}}/secret || echo "not here"
        $h again
        $h background; echo "status $?"
        exec 200</etc/passwd; $h status 0; echo "status $?"
        echo done
        sleep 1000
    may-start: [helper]
    limits: {processes: 16}
  helper:
    start: on-exec
    replaces: "{{DIR}}/helper"
    files: {read: ["{{DIR}}/secret"]}
    may-start: [inner]
    limits: {processes: 16}
  inner:
    start: on-exec
    replaces: "{{DIR}}/inner"
    limits: {processes: 16}
`).Run()
	a.Expect(a.Out, "done")
	var got []string
	number := ""
	for _, line := range a.Lines("shell") {
		if after, ok := strings.CutPrefix(line, "number "); ok {
			number = after
			continue
		}
		got = append(got, line)
	}
	want := []string{
		"argument two words", "argument ", "argument last", "variable yes",
		"status 7", "status 137", "status 143", "HELLO", "UP", "/tmp", "0033", number,
		"the secret", "not here", "inner inner", "status 0", "status 0", "done",
	}
	kept := got[:0]
	for _, line := range got {
		// What the shell itself says of deaths and of files.
		if line != "Killed" && line != "Terminated" && !strings.HasPrefix(line, "cat: ") {
			kept = append(kept, line)
		}
	}
	expectLines(t, kept, want...)
	a.Stop()
}

// compile makes a static program of C source into the application's directory.
func (a *Application) compile(source string, names ...string) {
	a.t.Helper()
	for _, name := range names {
		out, err := exec.Command("musl-gcc", "-std=gnu11", "-O1", "-static", "-o", filepath.Join(a.Dir, name), source).CombinedOutput()
		if err != nil {
			a.t.Fatalf("compile %s: %v\n%s", source, err, out)
		}
	}
}

// untimed logs the lines that say how long something took, and returns the others.
func untimed(t *testing.T, lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		timed := strings.HasPrefix(line, "gone after ")
		if timed {
			t.Log(line)
		}
		return timed
	})
}

// What a parent sees of a helper in a compartment of its own is what it would
// have seen: the same program runs each case with both.
func TestSplitIsLikeExec(t *testing.T) {
	cases := []string{"statuses", "ways", "inheritance", "pids", "signals", "stops", "killed", "pipeline", "orphans"}
	a := New(t, "split-like")
	a.compile("split/parent.c", "parent", "bare", "helper")
	var policy strings.Builder
	policy.WriteString(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper", files: {temporary: /tmp}}
`)
	for _, name := range cases {
		for _, kind := range []string{"bare", "split"} {
			path, execute, may := "bare", `, execute: "{{DIR}}/bare"`, ""
			if kind == "split" {
				path, execute, may = "helper", "", ", may-start: [helper]"
			}
			fmt.Fprintf(&policy, "  %s-%s: {command: [\"{{DIR}}/parent\", parent, %s, \"{{DIR}}/%s\"], files: {temporary: /tmp%s}, syscalls: [\"@resources\"], restart: never%s}\n",
				kind, name, name, path, execute, may)
		}
	}
	a.Write(policy.String()).Run()
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			a.eventually(name+" is over", func() bool {
				end := "end of " + name
				return slices.Contains(a.Lines("bare-"+name), end) && slices.Contains(a.Lines("split-"+name), end)
			})
			expectLines(t, untimed(t, a.Lines("split-"+name)), untimed(t, a.Lines("bare-"+name))...)
		})
	}
	a.Stop()
}
