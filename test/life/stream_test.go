package life

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counting writes numbered lines as fast as it can, and after each the number
// of what it has written into a file.
const counting = `
import os, sys
here = os.path.dirname(sys.argv[0])
last = os.open(here + "/last", os.O_WRONLY | os.O_CREAT)
n = int(open(here + "/last").read() or b"0")
while True:
    n += 1
    os.write(1, b"line %d\n" % n)
    os.pwrite(last, b"%d" % n, 0)
`

const stream = `application: {{NAME}}
logs: {file: "{{DIR}}/all.log", rotate: 1G}
components:
  much:
    command: [/usr/bin/python3, "{{DIR}}/much.py"]
    extends: python
    restart: always
    restart-delay: 10ms
    restart-delay-maximum: 10ms
    files: {write: ["{{DIR}}"]}
    user: root
supervision: {restarts: 1000, within: 1s}
`

// numbers are those of the lines in its log, which must follow one another;
// what a killed writer had written and not counted yet may come twice, and as
// many lines as a killed reader had in its hands.
func (a *Application) numbers(inHand int) (first, last int) {
	a.t.Helper()
	first = -1
	for line := range strings.Lines(a.Read("all.log")) {
		_, text, ok := strings.Cut(line, " line ")
		n, err := strconv.Atoi(strings.TrimSuffix(text, "\n"))
		if !ok {
			continue
		}
		if err != nil {
			a.t.Fatalf("a line is %q", line)
		}
		if first < 0 {
			first, last = n, n-1
		}
		if n > last+1 || n < last-inHand {
			a.t.Fatalf("line %d follows line %d", n, last)
		}
		if n < last {
			inHand = 0 // once
		}
		last = n
	}
	return first, last
}

func (a *Application) counted() int {
	n, _ := strconv.Atoi(a.Read("last"))
	return n
}

// TestNoGapAfterCrash: a writer that is killed in the middle of a stream, again
// and again, loses nothing that it has written.
func TestNoGapAfterCrash(t *testing.T) {
	a := New(t, "gap")
	a.File("much.py", counting)
	a.Run(stream)
	for range 5 {
		was := a.counted()
		a.Until("it writes", func() bool { return a.counted() > was+100 })
		a.Kill(a.pidOf("much"))
	}
	a.Signal(unix.SIGTERM)
	a.Wait()
	first, last := a.numbers(0)
	if first != 1 || last < a.counted() {
		t.Errorf("the log has lines %d to %d, of %d that were written", first, last, a.counted())
	}
}

// TestReaderKilled: the supervisor, which reads the pipes, is killed in the
// middle of a stream, or all of its compartment is. The application ends with
// it, and a successor writes what stands in the pipes.
func TestReaderKilled(t *testing.T) {
	for name, victim := range map[string]func(*Application) string{
		"process": func(a *Application) string { return a.members("supervisor")[0] },
		// The parent of its worker's own init is the compartment's.
		"compartment": func(a *Application) string { return parent(parent(a.members("supervisor")[0])) },
	} {
		t.Run(name, func(t *testing.T) {
			a := New(t, "reader-"+name)
			a.File("much.py", counting)
			a.Run(stream)
			a.Until("it writes", func() bool { return a.counted() > 1000 })
			a.Kill(victim(a))
			if status := a.Wait(); status != 125 {
				t.Errorf("status %d", status)
			}
			first, last := a.numbers(16 << 10 / len("line 1\n"))
			if first != 1 || last < a.counted() {
				t.Errorf("the log has lines %d to %d, of %d that were written", first, last, a.counted())
			}
		})
	}
}

// TestFullTmpfs: with no room left a component waits, and when there is room
// again nothing of its stream is missing; where the policy says drop, it never
// waits, and what is missing is counted.
func TestFullTmpfs(t *testing.T) {
	for _, full := range []string{"wait", "drop"} {
		t.Run(full, func(t *testing.T) {
			a := New(t, "full-"+full)
			disk := filepath.Join(a.Dir, "disk")
			if err := os.Mkdir(disk, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
				t.Fatal(err)
			}
			defer func() {
				a.Signal(unix.SIGTERM)
				a.Wait()
				unix.Unmount(disk, unix.MNT_DETACH)
			}()
			a.File("much.py", counting)
			a.Run(strings.Replace(stream, `logs: {file: "{{DIR}}/all.log", rotate: 1G}`, `logs: {file: "{{DIR}}/disk/all.log", rotate: 1G, full: `+full+`}`, 1))
			a.Until("the disk is full", func() bool { return strings.Contains(a.Sandbox("status", "--json", a.Name), `"full": true`) })
			was := a.counted()
			if full == "drop" {
				a.Until("it writes on", func() bool { return a.counted() > was+10000 })
			} else {
				a.Until("it waits", func() bool {
					before := a.counted()
					time.Sleep(200 * time.Millisecond)
					return a.counted() == before
				})
			}
			if out, err := exec.Command("mount", "-o", "remount,size=512m", disk).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			was = a.counted()
			a.Until("it writes", func() bool { return a.counted() > was+1000 })
			a.Until("there is room", func() bool { return !strings.Contains(a.Sandbox("status", "--json", a.Name), `"full": true`) })
			status := a.Sandbox("status", "--json", a.Name)
			a.Kill(a.pidOf("much"))
			a.Signal(unix.SIGTERM)
			a.Wait()
			text, err := os.ReadFile(filepath.Join(disk, "all.log"))
			if err != nil {
				t.Fatal(err)
			}
			a.File("all.log", string(text))
			if strings.Contains(a.Said.String(), "component supervisor: denied") {
				t.Error("the supervisor tried what it may not")
			}
			if full == "wait" {
				if first, last := a.numbers(0); first != 1 || last < a.counted() {
					t.Errorf("the log has lines %d to %d, of %d that were written", first, last, a.counted())
				}
				return
			}
			_, after, _ := strings.Cut(status, `"dropped": `)
			dropped := 0
			if fmt.Sscan(after, &dropped); dropped == 0 {
				t.Errorf("no line is counted as dropped:\n%s", status)
			}
			for line := range strings.Lines(string(text)) {
				if strings.Count(line, " line ") > 1 || !strings.HasSuffix(line, "\n") {
					t.Errorf("a line begins in the middle of another: %q", line)
				}
			}
			if have := strings.Count(string(text), " line "); have+dropped < was {
				t.Errorf("%d lines are in the log and %d were counted as dropped, of %d", have, dropped, was)
			}
		})
	}
}

func parent(pid string) string { return field("/proc/"+pid, "PPid:") }
