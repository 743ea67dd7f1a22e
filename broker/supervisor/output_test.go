package supervisor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/test/transcript"
)

// written follows the pipes of some components and returns write ends.
func written(t testing.TB, o *output, components ...int) []*os.File {
	t.Helper()
	var ends []*os.File
	for _, component := range components {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := o.follow(o.sources[component], 1, p[0]); err != nil {
			t.Fatal(err)
		}
		end := os.NewFile(uintptr(p[1]), "pipe")
		t.Cleanup(func() { end.Close() })
		ends = append(ends, end)
	}
	return ends
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

func TestLines(t *testing.T) {
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web"})
	end := written(t, o, 0)[0]
	long := strings.Repeat("0123456789", 2000)
	io.WriteString(end, "one\ntw")
	io.WriteString(end, "o\r\n\nthree\n"+long+"\nlast\x00\x1b[2J")
	end.Close()
	eventually(t, "the last line", func() bool { return strings.Contains(out.String(), "last") })
	want := "web | one\nweb | two\nweb | \nweb | three\n" +
		"web | " + long[:lineBytes] + "\nweb | " + long[lineBytes:2*lineBytes] + "\nweb | " + long[2*lineBytes:] + "\n" +
		"web | last\x00\x1b[2J\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestInterleaving: many components write at once, in pieces; every line
// arrives whole, once, and in its component's order.
func TestInterleaving(t *testing.T) {
	const components, lines = 20, 500
	names, indexes := make([]string, components), make([]int, components)
	for i := range names {
		names[i], indexes[i] = fmt.Sprintf("c%d", i), i
	}
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, names)
	for i, end := range written(t, o, indexes...) {
		go func() {
			for n := range lines {
				fmt.Fprintf(end, "%s says ", names[i])
				fmt.Fprintf(end, "%d\n", n)
			}
		}()
	}
	eventually(t, "all lines", func() bool { return strings.Count(out.String(), "\n") == components*lines })
	next := make(map[string]int)
	for line := range strings.Lines(out.String()) {
		var prefix, name string
		var n int
		if _, err := fmt.Sscanf(line, "%s | %s says %d\n", &prefix, &name, &n); err != nil || prefix != name || next[name] != n {
			t.Fatalf("line %q, want %s's %d", line, name, next[name])
		}
		next[name]++
	}
}

// TestFlood: a component that writes without end slows itself only. The
// other's line comes through in the time of a few turns.
func TestFlood(t *testing.T) {
	var bytesOut atomic.Int64
	seen := make(chan struct{}, 100)
	sink := writer(func(b []byte) {
		bytesOut.Add(int64(len(b)))
		if bytes.Contains(b, []byte("ping")) {
			seen <- struct{}{}
		}
	})
	var notes transcript.Transcript
	o := newOutput(sink, &notes, []string{"flood", "quiet"})
	ends := written(t, o, 0, 1)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		block := bytes.Repeat([]byte("a line of a component that writes without end\n"), 1400)
		for {
			select {
			case <-stop:
				return
			default:
				ends[0].Write(block)
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	var took []time.Duration
	for range 50 {
		at := time.Now()
		io.WriteString(ends[1], "ping\n")
		<-seen
		took = append(took, time.Since(at))
	}
	// Not of each: on a busy machine a turn may be long.
	slices.Sort(took)
	if median := took[len(took)/2]; median > 500*time.Millisecond {
		t.Errorf("half of the lines took more than %s each", median)
	}
	t.Logf("50 lines took %s beside a flood of %d MiB", time.Since(start), bytesOut.Load()>>20)
	close(stop)
	<-done
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestStuckReader: nobody reads the output; the components are slowed, the
// life cycle and the control sockets are not, and the end is not for ever.
func TestStuckReader(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	stuck := make(chan struct{})
	defer close(stuck)
	m.app.output.lines.to = writer(func([]byte) { <-stuck })
	pipe := m.pipe("web", 1)
	go func() {
		for {
			if _, err := pipe.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	m.run()
	m.untilState("web", control.Started)
	for range 2 * notesWaiting / 5 {
		restarts := m.component("web").Restarts
		m.do(control.Request{Verb: control.Restart, Component: "web"})
		m.until("restart", func() bool { c := m.component("web"); return c.State == control.Started && c.Restarts == restarts })
	}
	start := time.Now()
	m.stop()
	m.finish()
	if took := time.Since(start); took > settleLimit+time.Second {
		t.Errorf("the end took %s", took)
	}
	pipe.Close()
}

// TestLastWords: what a worker wrote before it crashed, without a newline,
// stands before the news of the crash and in the status.
func TestLastWords(t *testing.T) {
	m := newPeer(t, application(with("web", nil)))
	var both transcript.Transcript
	m.app.output.lines.to, m.app.output.notes = &both, &both
	pipe := m.pipe("web", 2)
	m.run()
	m.untilState("web", control.Started)
	io.WriteString(pipe, "panic: no")
	m.end("web", wire.Signaled, 6)
	m.until("the news", func() bool { return strings.Contains(both.String(), "killed by SIGABRT") })
	if got := both.String(); !strings.Contains(got, "web | panic: no\nsandbox: component web: killed by SIGABRT; restarts") {
		t.Errorf("got\n%s", got)
	}
	lines := m.component("web").Lines
	if len(lines) != 1 || lines[0].Text != "panic: no" || lines[0].Stream != 2 {
		t.Errorf("lines %+v", lines)
	}
	m.stop()
	m.finish()
}

func TestVisible(t *testing.T) {
	for _, c := range []struct{ in, plain, coloured string }{
		{"plain\ttext é", "plain\ttext é", "plain\ttext é"},
		{"\x1b[31mred\x1b[0m", "^[[31mred^[[0m", "\x1b[31mred\x1b[0m\x1b[0m"},
		{"\x1b[2J\x1b]0;title\a", "^[[2J^[]0;title^G", "^[[2J^[]0;title^G"},
		{"\x1b[31", "^[[31", "^[[31"},
		{"\x1b", "^[", "^["},
		{"a\x7f\r\u009b2J", "a^?^M^2J", "a^?^M^2J"},
	} {
		if got := string(visible(nil, []byte(c.in), false)); got != c.plain {
			t.Errorf("%q: %q", c.in, got)
		}
		if got := string(visible(nil, []byte(c.in), true)); got != c.coloured {
			t.Errorf("%q in colour: %q", c.in, got)
		}
	}
}

func TestColour(t *testing.T) {
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web", "database"})
	o.terminal, o.colour = true, true
	io.WriteString(written(t, o, 0)[0], "hello\n")
	eventually(t, "the line", func() bool { return out.String() != "" })
	if got := out.String(); got != "\x1b[36mweb      |\x1b[0m hello\n" {
		t.Errorf("got %q", got)
	}
}

func TestRing(t *testing.T) {
	var r ring
	if lines := r.last(5, "web"); len(lines) != 0 {
		t.Errorf("%d lines of nothing", len(lines))
	}
	now := time.Now()
	if r.add(now, 1, []byte("alone"), false); len(r.text) != firstBytes || len(r.entries) != firstLines {
		t.Errorf("one line has room for %d bytes and %d lines", len(r.text), len(r.entries))
	}
	r = ring{}
	for i := range 10_000 {
		r.add(now, 1, fmt.Appendf(nil, "line %d %s", i, strings.Repeat("x", i%700)), false)
		lines := r.last(3, "web")
		for k, line := range lines {
			n := i - len(lines) + 1 + k
			if want := fmt.Sprintf("line %d %s", n, strings.Repeat("x", n%700)); line.Text != want {
				t.Fatalf("after %d: %q, want %q", i, line.Text, want)
			}
		}
	}
	if r.used > ringBytes || len(r.text) != ringBytes || len(r.last(1<<30, "web")) != r.count {
		t.Errorf("%d bytes, %d lines", r.used, r.count)
	}
	r.add(now, 1, bytes.Repeat([]byte("y"), lineBytes), true)
	if lines := r.last(1, "web"); len(lines[0].Text) != lineBytes || !lines[0].Broken {
		t.Errorf("%d bytes", len(lines[0].Text))
	}
}

// TestOutputReaderGone: a reader that hangs up does not end anything.
func TestOutputReaderGone(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(p[0])
	defer unix.Close(p[1])
	var notes transcript.Transcript
	o := newOutput(file(p[1]), &notes, []string{"web"})
	end := written(t, o, 0)[0]
	for n := range 3 {
		fmt.Fprintln(end, n)
		eventually(t, "the line in the ring", func() bool { return len(o.sources[0].last(10)) == n+1 })
	}
}

func BenchmarkOutput(b *testing.B) {
	var notes transcript.Transcript
	o := newOutput(io.Discard, &notes, []string{"web"})
	end := written(b, o, 0)[0]
	block := bytes.Repeat([]byte("a line of eighty bytes, which is about what the lines of most programs have .....\n"), 780)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		end.Write(block)
	}
}

// TestLinesStayUntilWritten: as long as a chunk's lines are not written they stand
// in their pipe, for a successor; so does the beginning of a line behind a full
// chunk. Nothing is twice, also of a pipe of packets, of which a read of a
// part would lose the rest.
func TestLinesStayUntilWritten(t *testing.T) {
	for name, flags := range map[string]int{"stream": unix.O_CLOEXEC, "packets": unix.O_CLOEXEC | unix.O_DIRECT} {
		t.Run(name, func(t *testing.T) {
			reached, pass := make(chan []byte), make(chan struct{})
			o := newOutput(gate{reached, pass}, io.Discard, []string{"web"})
			var p [2]int
			if err := unix.Pipe2(p[:], flags); err != nil {
				t.Fatal(err)
			}
			kept, err := unix.FcntlInt(uintptr(p[0]), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(kept)
			var want strings.Builder
			given := 0
			for given < 2*chunkBytes {
				line := fmt.Sprintf("line %d of a text\n", given)
				if flags&unix.O_DIRECT != 0 { // sixteen packets are all that there is room for
					line = strings.Repeat("x", 3000) + "\n" + line
				}
				if _, err := unix.Write(p[1], []byte(line)); err != nil {
					t.Fatal(err)
				}
				given += len(line)
				for part := range strings.Lines(line) {
					want.WriteString("web | " + part)
				}
			}
			unix.Close(p[1])
			if err := o.follow(o.sources[0], 1, p[0]); err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for stands := given; got.Len() < want.Len(); {
				lines := <-reached
				left, err := unix.IoctlGetInt(kept, unix.TIOCINQ)
				if err != nil || left != stands {
					t.Fatalf("%d bytes stand in the pipe while lines are written, of %d (%v)", left, stands, err)
				}
				got.Write(lines)
				stands -= len(lines) - bytes.Count(lines, []byte{'\n'})*len("web | ")
				pass <- struct{}{}
			}
			if got.String() != want.String() {
				t.Errorf("got %d bytes, want %d", got.Len(), want.Len())
			}
			eventually(t, "the end of the pipe", func() bool { _, streams := o.now(o.sources[0]); return len(streams) == 0 })
		})
	}
}

// gate is a writer whose writes wait for somebody else.
type gate struct {
	reached chan []byte
	pass    chan struct{}
}

func (g gate) Write(b []byte) (int, error) {
	g.reached <- bytes.Clone(b)
	<-g.pass
	return len(b), nil
}
