package supervisor

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/test/transcript"
)

// TestSilentPipes: pipes in which nothing happens cost no goroutine, neither before
// something was written to them nor after.
func TestSilentPipes(t *testing.T) {
	const components = 200
	names, indexes := make([]string, components), make([]int, components)
	for i := range names {
		names[i], indexes[i] = fmt.Sprintf("c%d", i), i
	}
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, names)
	before := runtime.NumGoroutine()
	ends := written(t, o, indexes...)
	few := func() bool { return runtime.NumGoroutine() <= before+1 }
	eventually(t, "one goroutine for all of them", few)
	for _, end := range ends {
		io.WriteString(end, "hello\n")
	}
	eventually(t, "all lines", func() bool { return strings.Count(out.String(), "\n") == components })
	eventually(t, "one goroutine again", few)
	for _, end := range ends {
		end.Close()
	}
	eventually(t, "the end of that one", func() bool { return runtime.NumGoroutine() <= before })
	io.WriteString(written(t, o, 7)[0], "again\n")
	eventually(t, "a line after that", func() bool { return strings.HasSuffix(out.String(), "c7   | again\n") })
}

// TestTurns: beside a component that writes without end another one waits for no
// more than a chunk of it.
func TestTurns(t *testing.T) {
	reached, pass := make(chan []byte), make(chan struct{})
	o := newOutput(gate{reached, pass}, io.Discard, []string{"flood", "calm"})
	ends := written(t, o, 0, 1)
	const line, lines = "one of many\n", 16 << 10
	go io.Copy(ends[0], strings.NewReader(strings.Repeat(line, lines)))
	left := lines*len("flood | "+line) - len(<-reached)
	io.WriteString(ends[1], "ping\n")
	eventually(t, "its wish for a turn", func() bool {
		o.lines.mu.Lock()
		defer o.lines.mu.Unlock()
		return len(o.lines.turns) == 1
	})
	pass <- struct{}{}
	if next := string(<-reached); next != "calm  | ping\n" {
		t.Errorf("it stands behind %q", next)
		left -= len(next)
	}
	for left > 0 {
		pass <- struct{}{}
		left -= len(<-reached)
	}
	pass <- struct{}{}
}

// TestPollerForgets: what is forgotten is told no more, also when a copy of it is open
// elsewhere and another one has its number.
func TestPollerForgets(t *testing.T) {
	var pipes [2][2]int
	for i := range pipes {
		if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pipes[i][0])
		defer unix.Close(pipes[i][1])
	}
	number, err := unix.FcntlInt(uintptr(pipes[0][0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var p poller
	told := make(chan string, 10)
	first, second := &watched{fd: number, ready: func() { told <- "first" }}, &watched{fd: number, ready: func() { told <- "second" }}
	if err := p.add(first); err != nil {
		t.Fatal(err)
	}
	p.remove(first)
	if err := unix.Dup3(pipes[1][0], number, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(number)
	if err := p.add(second); err != nil {
		t.Fatal(err)
	}
	for i := range pipes {
		unix.Write(pipes[i][1], []byte("x"))
	}
	for range 3 {
		if who := <-told; who != "second" {
			t.Errorf("%s is told", who)
		}
		p.again(second)
	}
	<-told
	p.remove(second)
}
