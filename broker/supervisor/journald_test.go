package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/test/transcript"
)

// entries is journald's end of a log: packets, as they came.
type entries struct{ fd int }

// logToJournald gives component 0 of an output a log in journald; each reconnection
// takes the next of more.
func logToJournald(t *testing.T, o *output, more ...func() (int, error)) (*log, entries) {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	var l *log
	ask := func() {
		fd, err := -1, error(unix.ENOENT)
		if len(more) > 0 {
			fd, err = more[0]()
			more = more[1:]
		}
		l.opened <- opened{fd, err}
	}
	p := &plan.Log{Kind: plan.LogJournald, Name: "journald:web"}
	l = newLog(p, ask, func(text string) { o.say(text, nil) }, over)
	l.fields = journaldFields("app", "web")
	ours, theirs := packets(t)
	l.opened <- opened{fd: ours}
	o.toLog(l, o.sources[0])
	return l, theirs
}

// packets are the two ends of what the monitor connects.
func packets(t *testing.T) (int, entries) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return pair[0], entries{pair[1]}
}

// next is the entry that comes next, "" when there is none within the time.
func (e entries) next(wait time.Duration) string {
	p := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(p, int(wait.Milliseconds())); n < 1 {
		return ""
	}
	b := make([]byte, 64<<10)
	n, _ := unix.Read(e.fd, b)
	return string(b[:n])
}

func (e entries) message() string {
	text := e.next(5 * time.Second)
	_, text, _ = strings.Cut(text, "\nMESSAGE=")
	return strings.TrimSuffix(text, "\n")
}

// TestJournaldEntries: each line is an entry with its priority; the pieces of a
// line that is cut share one, and no line can add a field.
func TestJournaldEntries(t *testing.T) {
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web"})
	_, got := logToJournald(t, o)
	end := written(t, o, 0)[0]
	const fields = "SYSLOG_IDENTIFIER=app/web\nBULKHEAD_APPLICATION=app\nBULKHEAD_COMPONENT=web\n"
	for _, test := range []struct{ line, entry string }{
		{"plain", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=plain\n"},
		{"<3>bad", "PRIORITY=3\nBULKHEAD_STREAM=stdout\nMESSAGE=bad\n"},
		{"<0>", "PRIORITY=0\nBULKHEAD_STREAM=stdout\nMESSAGE=\n"},
		{"<8>none", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=<8>none\n"},
		{"<11>none", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=<11>none\n"},
		{"<", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=<\n"},
		{"", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=\n"},
		{"MESSAGE=x\x00\xff\tPRIORITY=0", "PRIORITY=6\nBULKHEAD_STREAM=stdout\nMESSAGE=MESSAGE=x\x00\xff\tPRIORITY=0\n"},
	} {
		io.WriteString(end, test.line+"\n")
		if entry := got.next(5 * time.Second); entry != fields+test.entry {
			t.Errorf("%q becomes %q", test.line, entry)
		}
	}
	long := "<4>" + strings.Repeat("x", lineBytes) + "<1>rest"
	io.WriteString(end, long+"\n")
	first, second := got.next(5*time.Second), got.next(5*time.Second)
	if !strings.Contains(first, "PRIORITY=4\nBULKHEAD_STREAM=stdout\nBULKHEAD_CUT=1\nMESSAGE=x") ||
		second != fields+"PRIORITY=4\nBULKHEAD_STREAM=stdout\nMESSAGE=xxx<1>rest\n" {
		t.Errorf("a long line becomes %q\nand %q", first[:200], second)
	}
}

// TestJournaldSlow: while journald takes nothing its component waits and nobody
// else does, it is said, and then everything comes in order.
func TestJournaldSlow(t *testing.T) {
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web", "other"})
	l, got := logToJournald(t, o)
	ends := written(t, o, 0, 1)
	const lines = 20000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range lines {
			fmt.Fprintf(ends[0], "line %d\n", n)
		}
	}()
	eventually(t, "full queue", func() bool { return l.full.Load() != nil })
	io.WriteString(ends[1], "meanwhile\n")
	eventually(t, "the other's line", func() bool { return strings.Contains(out.String(), "meanwhile") })
	select {
	case <-done:
		t.Error("the component did not wait")
	default:
	}
	for n := range lines {
		if text := got.message(); text != fmt.Sprintf("line %d", n) {
			t.Fatalf("line %d is %q", n, text)
		}
	}
	<-done
	for _, text := range []string{"its component waits", "is written again after"} {
		eventually(t, text, func() bool { return strings.Contains(notes.String(), text) })
	}
}

// TestJournaldAnew: a journald that went away and comes back on another socket
// gets every line that it had not taken.
func TestJournaldAnew(t *testing.T) {
	var out, notes transcript.Transcript
	o := newOutput(&out, &notes, []string{"web"})
	ours, second := packets(t)
	gone := func() (int, error) { return -1, errors.New("connect to journald: gone") }
	l, first := logToJournald(t, o, gone, gone, func() (int, error) { return ours, nil })
	end := written(t, o, 0)[0]
	io.WriteString(end, "one\n")
	if text := first.message(); text != "one" {
		t.Fatalf("the first line is %q", text)
	}
	unix.Close(first.fd)
	io.WriteString(end, "two\nthree\n")
	for _, want := range []string{"two", "three"} {
		if text := second.message(); text != want {
			t.Errorf("%q comes instead of %q", text, want)
		}
	}
	eventually(t, "news", func() bool { return strings.Contains(notes.String(), "is written again") })
	if l.full.Load() != nil || strings.Count(notes.String(), "its component waits") != 1 {
		t.Errorf("the broker says\n%s", notes.String())
	}
}

// TestLargeEntry: what no packet holds goes in a file that nobody can change.
func TestLargeEntry(t *testing.T) {
	ours, theirs := packets(t)
	if err := unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel's minimum
		t.Fatal(err)
	}
	entry := bytes.Repeat([]byte("MESSAGE=large\n"), 1000)
	if err := sendEntry(ours, entry); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(theirs.fd, make([]byte, 64), oob, unix.MSG_CMSG_CLOEXEC)
	if n != 0 || err != nil {
		t.Fatalf("a packet of %d bytes, %v", n, err)
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	if len(messages) != 1 {
		t.Fatal("it has no descriptor")
	}
	fds, _ := unix.ParseUnixRights(&messages[0])
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	got := make([]byte, len(entry)+1)
	if n, _ := f.ReadAt(got, 0); !bytes.Equal(got[:n], entry) {
		t.Errorf("the file has %d bytes of %d", n, len(entry))
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, _ := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); seals&all != all {
		t.Errorf("its seals are %x", seals)
	}
}
