package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
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

// compiled is split/parent.c as a static program, made once.
var compiled = sync.OnceValues(func() ([]byte, error) {
	if *built != "" {
		return os.ReadFile(filepath.Join(*built, "parent"))
	}
	directory, err := os.MkdirTemp("", "split-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	program := filepath.Join(directory, "parent")
	if out, err := exec.Command("musl-gcc", "-std=gnu11", "-O1", "-static", "-s", "-o", program, "split/parent.c").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile split/parent.c: %w\n%s", err, out)
	}
	return os.ReadFile(program)
})

// compile puts the parent of these tests into the application's directory,
// under several names.
func (a *Application) compile(names ...string) {
	a.t.Helper()
	program, err := compiled()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Chmod(a.File(name, string(program)), 0o755); err != nil {
			a.t.Fatal(err)
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
	a.compile("parent", "bare", "helper")
	var policy strings.Builder
	policy.WriteString(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper", workers: {ready-ahead: 2}, files: {temporary: /tmp}}
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

// Which kinds of descriptors pass, by default and where the policy says more.
// Some never do.
func TestSplitDescriptors(t *testing.T) {
	a := New(t, "split-kinds")
	a.compile("parent", "few", "many")
	a.File("named/file", "")
	a.Write(`
application: {{NAME}}
components:
  few: {start: on-exec, replaces: "{{DIR}}/few"}
  many:
    start: on-exec
    replaces: "{{DIR}}/many"
    pass: {descriptors: [files, pipes, sockets, devices, memory, events], directories: "{{DIR}}/named"}
` + parents("kinds", "few", "many") + `
`).Run()
	for kind, want := range map[string]string{"few": "50 51 52 53", "many": "50 51 52 53 54 55 56 58"} {
		a.eventually(kind+" is over", func() bool { return slices.Contains(a.Lines("parent-"+kind), "end of kinds") })
		var got []string
		for _, line := range a.Lines("parent-" + kind) {
			if number, ok := strings.CutPrefix(line, "has "); ok {
				got = append(got, number)
			}
			if strings.Contains(line, "not to be had") && !strings.HasPrefix(line, "namespace") && !strings.HasPrefix(line, "memory of") {
				t.Errorf("the parent could not try %s", line)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has the descriptors %v, not %s", kind, got, want)
		}
	}
	a.Expect(a.Err, "pass memory to few: EPERM; to allow it: components.few.pass.descriptors: [files, pipes, sockets, devices, memory]")
	a.Expect(a.Err, "to allow it: components.few.pass.directories: ["+a.Dir+"/named]")
	a.Stop()
}

// parents are components that run a case of split/parent.c with each helper.
func parents(name string, helpers ...string) string {
	var text strings.Builder
	for _, helper := range helpers {
		fmt.Fprintf(&text, "  parent-%s:\n    command: [\"{{DIR}}/parent\", parent, %s, \"{{DIR}}/%s\"]\n    may-start: [%s]\n    restart: never\n"+
			"    files: {temporary: /tmp, read: {path: \"{{DIR}}/named\", optional: true}}\n    environment: {NAMED: \"{{DIR}}/named\"}\n", helper, name, helper, helper)
	}
	return text.String()
}

// What a parent that was taken over may try, and what waits for its turn.
func TestSplitClaims(t *testing.T) {
	a := New(t, "split-claims")
	a.compile("parent", "helper", "other")
	a.Write(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper", workers: {maximum: 1, queue: 1}}
  other: {start: on-exec, replaces: "{{DIR}}/other"}
` + parents("claims", "helper") + `
`).Run()
	a.eventually("it is over", func() bool { return slices.Contains(a.Lines("parent-helper"), "end of claims") })
	at := "sandbox: " + a.Dir + "/helper: "
	// Standard error is another pipe, so its lines come when they come.
	var parent, stub []string
	for _, line := range a.Lines("parent-helper") {
		if strings.HasPrefix(line, "sandbox: ") {
			stub = append(stub, line)
		} else {
			parent = append(parent, line)
		}
	}
	expectLines(t, stub,
		at+"it has more descriptors than the 480 that one exec can pass: argument list too long",
		at+"all its workers are busy, and as many wait as may (workers:)",
	)
	expectLines(t, parent,
		"the call: -1, errno 1",
		"too many descriptors: exited with 126",
		"one more than may wait: exited with 126",
		"the first: killed by 9",
		"the second, which waited: killed by 15",
		"killed while it waited: killed by 9",
		"the other: killed by 9",
		"afterwards: exited with 6",
		"end of claims",
	)
	a.Expect(a.Err, "nobody may execute \"other\"")
	a.Stop()
}

// stubs are the processes of an application that stand for others.
func (a *Application) stubs() []Process {
	var all []Process
	stub, err := os.Stat(filepath.Join(a.site.Libexec, "stub"))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range a.Processes() {
		if file, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.Pid)); err == nil && os.SameFile(file, stub) {
			all = append(all, p)
		}
	}
	return all
}

// stubOf waits for the stub of a component and returns it.
func (a *Application) stubOf(component string) Process {
	a.t.Helper()
	var found Process
	a.eventually("there is a stub in "+component, func() bool {
		for _, p := range a.stubs() {
			if p.Component == component {
				found = p
			}
		}
		return found.Pid != 0
	})
	return found
}

// A stub that says what none says costs its caller, and nobody else.
func TestSplitGarbage(t *testing.T) {
	a := New(t, "split-garbage")
	a.compile("parent", "helper", "calm")
	a.Write(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper"}
  calm: {start: on-exec, replaces: "{{DIR}}/calm"}
` + strings.ReplaceAll(parents("waits", "helper"), "restart: never", "restart: always\n    restart-delay: 10ms") + parents("forever", "calm") + `
supervision: {restarts: 100, within: 1s}
`).Run().Ready()
	before := len(held(a.Pid()))
	for name, packet := range map[string][]byte{
		"short": {1}, "zero": {0, 0, 0, 0}, "high": {65, 0, 0, 0}, "long": make([]byte, 8), "huge": make([]byte, 4096),
	} {
		t.Run(name, func(t *testing.T) {
			stub := a.stubOf("parent-helper")
			a.eventually("its helper runs", func() bool { return len(a.Of(Child, "helper")) > 0 })
			socket := socketOf(t, stub.Pid)
			defer unix.Close(socket)
			// With a descriptor, which nobody may keep.
			if err := unix.Sendmsg(socket, packet, unix.UnixRights(0), nil, 0); err != nil {
				t.Fatal(err)
			}
			a.eventually("its caller and its helper are gone", func() bool {
				for _, p := range a.Processes() {
					if p.Pid == stub.Pid {
						return false
					}
				}
				return true
			})
			calm := strings.Count(a.Out.String(), "good")
			a.eventually("another component goes on", func() bool { return strings.Count(a.Out.String(), "good") > calm })
		})
	}
	a.Expect(a.Err, "its stub for "+a.Dir+"/helper sent the monitor a malformed message")
	if strings.Contains(a.Out.String(), "bad") {
		t.Error("a helper of somebody else's failed")
	}
	a.eventually("the monitor has as many descriptors as before", func() bool { return len(held(a.Pid())) <= before+descriptorSlack })
	a.Stop()
}

// socketOf takes a copy of a stub's socket.
func socketOf(t *testing.T, pid int) int {
	t.Helper()
	for number, target := range descriptors(pid) {
		if !strings.HasPrefix(target, "socket:") {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pidfd)
		n, _ := strconv.Atoi(number)
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	t.Fatalf("the stub %d has no socket", pid)
	return -1
}

// Whoever of the processes dies, nothing is left, and what can goes on.
func TestSplitKills(t *testing.T) {
	for _, victim := range []struct {
		name string
		of   func(*Application) []Process
		ends bool // the application
	}{
		{"stub", (*Application).stubs, false},
		{"helper", func(a *Application) []Process { return a.Of(Child, "helper") }, false},
		{"its init", func(a *Application) []Process { return a.Of(WorkerInit, "helper") }, false},
		{"the init of its compartment", func(a *Application) []Process { return a.Of(CompartmentInit, "helper") }, false},
		{"parent", func(a *Application) []Process { return a.Of(Program, "parent-helper") }, false},
		{"the parent's init", func(a *Application) []Process { return a.Of(WorkerInit, "parent-helper") }, false},
		{"monitor", func(a *Application) []Process { return a.Of(Monitor, "") }, true},
		{"supervisor", func(a *Application) []Process { return a.Of(Supervisor, "supervisor") }, true},
	} {
		t.Run(victim.name, func(t *testing.T) {
			a := New(t, "split-kills")
			a.compile("parent", "helper")
			a.Write(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper"}
` + strings.ReplaceAll(parents("forever", "helper"), "restart: never", "restart: always\n    restart-delay: 10ms")).Run()
			a.Expect(a.Out, "good")
			killed := 0
			a.eventually("one of them is killed", func() bool {
				for _, p := range victim.of(a) {
					if p.Kill(unix.SIGKILL) == nil {
						killed++
					}
				}
				return killed > 0
			})
			if victim.ends {
				a.Wait()
				a.ExpectNothingLeft(*patience)
				return
			}
			good := strings.Count(a.Out.String(), "good")
			a.eventually("helpers run again", func() bool { return strings.Count(a.Out.String(), "good") > good+2 })
			a.Stop()
		})
	}
}

// A parent and its helper share what both their policies name, and no more.
func TestSplitShares(t *testing.T) {
	for _, shared := range []struct {
		name, files string
		want        []string
	}{
		{"named", `files: {write: "{{DIR}}/named"},`, []string{
			"connect: exited with 0", "it said: hello",
			"memory: exited with 0", "it wrote: 42",
		}},
		{"not named", "", []string{
			"connect: No such file or directory", "connect: exited with 0", "it said: ",
			"memory: No such file or directory", "memory: exited with 0", "it wrote: 0",
		}},
	} {
		t.Run(shared.name, func(t *testing.T) {
			a := New(t, "split-shares")
			a.compile("parent", "helper")
			named := filepath.Join(a.Dir, "named")
			if err := os.Mkdir(named, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(named, 0o777); err != nil {
				t.Fatal(err)
			}
			a.Write(`
application: {{NAME}}
components:
  helper: {start: on-exec, replaces: "{{DIR}}/helper", ` + shared.files + ` syscalls: ["@network-io", "@ipc"]}
` + strings.ReplaceAll(parents("shares", "helper"), "read: {path", "write: {path") + `    syscalls: ["@network-io", "@ipc"]
`).Run()
			a.eventually("it is over", func() bool { return slices.Contains(a.Lines("parent-helper"), "end of shares") })
			expectLines(t, a.Lines("parent-helper"),
				append(shared.want, "segment: made", "segment: not there", "segment: exited with 0", "end of shares")...)
			a.Stop()
		})
	}
}

// A daemon that executes itself finds another component in its own place.
func TestSplitItself(t *testing.T) {
	a := New(t, "split-itself")
	a.compile("parent")
	a.Write(`
application: {{NAME}}
components:
  daemon:
    command: ["{{DIR}}/parent", parent, pids, "{{DIR}}/parent"]
    may-start: [session]
    restart: never
  session: {start: on-exec, replaces: "{{DIR}}/parent"}
`).Run()
	a.eventually("it is over", func() bool { return slices.Contains(a.Lines("daemon"), "end of pids") })
	expectLines(t, a.Lines("daemon"),
		"it knows its pid: yes", "pid: exited with 0", "it knows its pid: yes", "pid: exited with 0",
		"it knows its pid: yes", "pid: exited with 0", "end of pids")
	a.Stop()
}
