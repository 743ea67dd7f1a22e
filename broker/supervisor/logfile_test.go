package supervisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/test/transcript"
)

// logTo gives component 0 of an output a log file; rotate opens the next one.
func logTo(t *testing.T, o *output, p *plan.Log, rotate func() (int, error)) *log {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	var l *log
	ask := func() {
		fd, err := rotate()
		l.opened <- opened{fd, err}
	}
	l = newLog(p, ask, func(text string) { o.say(text, nil) }, over)
	first, err := unix.Open(p.Name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l.opened <- opened{fd: first}
	o.toLog(l, o.sources[0])
	return l
}

// TestLogRotation: lines written without end are in the files, whole, once and
// in order, each file within its bound, each line with the time before it.
func TestLogRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	p := &plan.Log{Kind: plan.LogFile, Name: path, Rotate: 64 << 10, Keep: 100}
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web"})
	rotated := 0
	logTo(t, o, p, func() (int, error) {
		rotated++
		if err := os.Rename(path, fmt.Sprintf("%s.%03d", path, rotated)); err != nil {
			return -1, err
		}
		return unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	})
	end := written(t, o, 0)[0]
	const lines = 20000
	for n := range lines {
		fmt.Fprintf(end, "line %d\n", n)
	}
	o.settle(10 * time.Second)
	var all strings.Builder
	for n := 1; n <= rotated+1; n++ {
		name := path
		if n <= rotated {
			name = fmt.Sprintf("%s.%03d", path, n)
		}
		b, _ := os.ReadFile(name)
		if len(b) > int(p.Rotate) {
			t.Errorf("a file has %d bytes", len(b))
		}
		all.Write(b)
	}
	n := 0
	for line := range strings.Lines(all.String()) {
		stamp, text, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != fmt.Sprintf("line %d\n", n) {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	if n != lines || rotated < 10 {
		t.Errorf("%d lines of %d, %d rotations", n, lines, rotated)
	}
	if out.String() != "" {
		t.Errorf("the terminal got %q", out.String())
	}
}

// full is a file system of 256 KiB with little room; release makes more.
func full(t *testing.T) (path string, release func()) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("log", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("needs root: mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "web.log"), sync.OnceFunc(func() { os.Remove(ballast) })
}

// TestFullDiskWaits: on a full disk a component waits and nobody else does;
// when there is room again everything arrives, in order.
func TestFullDiskWaits(t *testing.T) {
	path, release := full(t)
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web", "other"})
	l := logTo(t, o, &plan.Log{Kind: plan.LogFile, Name: path, Rotate: 1 << 20, Keep: 1}, nil)
	ends := written(t, o, 0, 1)
	const lines = 6000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range lines {
			fmt.Fprintf(ends[0], "line %d\n", n)
		}
	}()
	eventually(t, "full disk", func() bool { return l.full.Load() != nil })
	io.WriteString(ends[1], "meanwhile\n")
	o.say("a note after web's end", o.sources[0])
	eventually(t, "the other's line and the note", func() bool {
		return strings.Contains(out.String(), "meanwhile") && strings.Contains(notes.String(), "after web's end")
	})
	release()
	<-done
	o.settle(10 * time.Second)
	b, _ := os.ReadFile(path)
	n := 0
	for line := range strings.Lines(string(b)) {
		if _, text, _ := strings.Cut(line, " "); text != fmt.Sprintf("line %d\n", n) {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	if n != lines {
		t.Errorf("%d lines of %d", n, lines)
	}
	for _, text := range []string{"no space left on device; its components wait", "is written again after"} {
		if !strings.Contains(notes.String(), text) {
			t.Errorf("no %q in\n%s", text, notes.String())
		}
	}
}

// TestFullDiskDrops: where the policy says so the component goes on, what is
// in the log stays, and the count is right.
func TestFullDiskDrops(t *testing.T) {
	path, release := full(t)
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web"})
	l := logTo(t, o, &plan.Log{Kind: plan.LogFile, Name: path, Rotate: 1 << 20, Keep: 1, Drop: true}, nil)
	end := written(t, o, 0)[0]
	const lines = 6000
	for n := range lines {
		fmt.Fprintf(end, "line %d.\n", n)
	}
	o.settle(10 * time.Second)
	release()
	io.WriteString(end, "after\n")
	o.settle(10 * time.Second)
	if !strings.Contains(notes.String(), "lines were dropped so far") {
		t.Errorf("nothing is said of it:\n%s", notes.String())
	}
	b, _ := os.ReadFile(path)
	whole := 0
	for line := range strings.Lines(string(b)) {
		_, text, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(text, "line ") && strings.HasSuffix(text, ".\n"), text == "after\n":
			whole++
		}
		// A line that the full disk cut stands alone: the next begins anew.
		if strings.Count(line, "line") > 1 || strings.Contains(line, "after") && text != "after\n" {
			t.Errorf("the line %q", line)
		}
	}
	if whole+int(l.dropped.Load()) != lines+1 || l.dropped.Load() == 0 {
		t.Errorf("%d lines and %d dropped, of %d", whole, l.dropped.Load(), lines+1)
	}
}

func logged() *plan.Plan {
	p := application(with("web", func(c *plan.Component) { c.Log = "/var/log/web.log" }))
	p.Logs = []plan.Log{{Kind: plan.LogFile, Name: "/var/log/web.log", Rotate: 1 << 20}}
	return p
}

// TestLogCannotBeOpened: then nothing starts.
func TestLogCannotBeOpened(t *testing.T) {
	prepared(t, logged(), func(m *script) { m.refuseLogs = unix.ENOENT }, func(m *script) {
		m.expect("log 0 0")
		m.noted("cannot start")
		m.ends(statusBroken)
	})
}

// TestLogsOpenFirst: components start when their logs are open.
func TestLogsOpenFirst(t *testing.T) {
	play(t, logged(), func(m *script) {
		m.expect("log 0 0", "start web")
		m.tell(rotateLog{m.app.logs[0]})
		m.expect("log 0 1")
	})
}
