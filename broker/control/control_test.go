package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseRequest(t *testing.T) {
	for _, c := range []struct{ line, problem string }{
		{`{"verb":"status"}`, ""},
		{`{"verb":"stop","component":"web","wait":true}`, ""},
		{`{"verb":"signal","component":"web","signal":64}`, ""},
		{`{"verb":"signal","component":"web"}`, "a signal from 1 to 64"},
		{`{"verb":"stop"}`, "stop needs a component"},
		{`{"verb":"logs","lines":-1}`, "not negative"},
		{`{"verb":"fly"}`, `unknown verb "fly"`},
		{`{"verb":"status","x":1}`, "unknown field"},
		{`{"verb":"status"}{}`, "something stands behind it"},
		{`{"verb":1}`, "not understood"},
		{``, "not understood"},
		{strings.Repeat(" ", MaximumRequest+1), "longer than 4096 bytes"},
	} {
		_, err := ParseRequest([]byte(c.line))
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%.60s: %v, want %q", c.line, err, c.problem)
		}
	}
}

// FuzzParseRequest: whatever a client sends, what is accepted is complete
// and survives the way there and back.
func FuzzParseRequest(f *testing.F) {
	for verb := range Verbs {
		b, _ := json.Marshal(Request{Verb: verb, Component: "web", Signal: 15, Lines: 3, Follow: true, Wait: true})
		f.Add(b)
	}
	f.Add([]byte(`{"verb":"status"`))
	f.Add([]byte("{\"verb\":\"st\\u0061tus\",\"component\":\"\xff\"}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		if err != nil {
			return
		}
		needs, known := Verbs[r.Verb]
		if !known || needs.Component && r.Component == "" || needs.Signal && (r.Signal < 1 || r.Signal > 64) || r.Lines < 0 {
			t.Fatalf("accepted %+v", r)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRequest(b); len(b) <= MaximumRequest && (err != nil || again != r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// served is a client whose supervisor has written text already.
func served(t *testing.T, text string) *Client {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(pair[1]), "peer")
	go func() {
		peer.WriteString(text)
		unix.Shutdown(pair[1], unix.SHUT_WR)
	}()
	c := NewClient(pair[0])
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c
}

func TestClient(t *testing.T) {
	var texts []string
	each := func(r Reply) error {
		texts = append(texts, r.Line.Text)
		return nil
	}
	c := served(t, `{"line":{"text":"one"}}`+"\n"+`{"line":{"text":"two"}}`+"\n"+`{"done":true}`+"\n"+`{"error":"no"}`+"\n")
	if _, err := c.Do(Request{Verb: AskLogs}, each); err != nil || strings.Join(texts, " ") != "one two" {
		t.Errorf("%q, %v", texts, err)
	}
	var refused Refused
	if _, err := c.Do(Request{Verb: AskLogs}, each); !errors.As(err, &refused) || refused.Error() != "no" {
		t.Errorf("refused: %v", err)
	}
	if _, err := c.Do(Request{Verb: AskLogs}, each); err == nil || !strings.Contains(err.Error(), "closed the control socket") {
		t.Errorf("closed: %v", err)
	}
	if _, err := served(t, "garbage\n").Do(Request{Verb: AskStatus}, nil); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("garbage: %v", err)
	}
	long := `{"error":"` + strings.Repeat("x", 200<<10) + `"}` + "\n"
	if _, err := served(t, long).Do(Request{Verb: AskStatus}, nil); err == nil || len(err.Error()) != 200<<10 {
		t.Error("a long reply is cut")
	}
}

// TestDialLongPath: a state directory may be deeper than a socket address is
// long.
func TestDialLongPath(t *testing.T) {
	directory := t.TempDir()
	for range 4 {
		directory = filepath.Join(directory, strings.Repeat("d", 60))
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	place, err := unix.Open(directory, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(place)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/control", place)}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(filepath.Join(directory, "control"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := Dial(filepath.Join(directory, "nothing")); err == nil || !bytes.Contains([]byte(err.Error()), []byte("control socket")) {
		t.Errorf("error %v", err)
	}
}
