package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bulkhead/broker/client/internal/peer"
	"bulkhead/broker/wire"
)

func dial(t *testing.T) *Broker {
	t.Helper()
	b, err := New(peer.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, not %v", err, want)
	}
}

func content(t *testing.T, b *Broker, grant, path string) string {
	t.Helper()
	f, err := b.Open(grant, path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	closeOnExec(t, f)
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// closeOnExec fails the test if a descriptor would survive an exec.
func closeOnExec(t *testing.T, c syscall.Conn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec (%v)", fd, errno)
		}
	})
}

// run runs a component on text.
func run(b *Broker, component, text string) (string, Result, error) {
	source, feed, err := os.Pipe()
	if err != nil {
		return "", Result{}, err
	}
	defer source.Close()
	output, sink, err := os.Pipe()
	if err != nil {
		return "", Result{}, err
	}
	defer output.Close()
	w, err := b.Start(component, map[int]*os.File{0: source, 1: sink})
	sink.Close()
	if err != nil {
		return "", Result{}, err
	}
	feed.WriteString(text)
	feed.Close()
	written, err := io.ReadAll(output)
	if err != nil {
		return "", Result{}, err
	}
	r, err := w.Wait(context.Background())
	return string(written), r, err
}

func TestOpen(t *testing.T) {
	b := dial(t)
	if got := content(t, b, "store", "greeting"); got != "hello\n" {
		t.Errorf("greeting holds %q", got)
	}
	if got := content(t, b, "motd", ""); got != "motd\n" {
		t.Errorf("motd holds %q", got)
	}
	f, err := b.Open("store", "new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("made")
	f.Close()
	if got := content(t, b, "store", "new"); got != "made" {
		t.Errorf("new holds %q", got)
	}
	_, err = b.Open("store", "new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	wantError(t, err, fs.ErrExist)
}

func TestErrors(t *testing.T) {
	b := dial(t)
	_, err := b.Open("store", "absent", os.O_RDONLY, 0)
	wantError(t, err, fs.ErrNotExist)
	if got := err.Error(); got != "open store/absent: no such file or directory" {
		t.Errorf("the error reads %q", got)
	}
	_, err = b.Open("store", "greeting", syscall.O_DIRECTORY, 0)
	wantError(t, err, syscall.EINVAL)
	_, err = b.Open("store", "", os.O_RDONLY, 0)
	wantError(t, err, syscall.EISDIR)
	_, err = b.Connect("motd")
	wantError(t, err, syscall.EINVAL)
	_, err = b.Start("forbidden", nil)
	wantError(t, err, fs.ErrPermission)
	_, err = b.Start("busy", nil)
	wantError(t, err, syscall.EAGAIN)
	_, err = b.Fetch("nothing")
	wantError(t, err, fs.ErrNotExist)
	wantError(t, b.Status(strings.Repeat("x", wire.MaximumSize)), wire.ErrTooLarge)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	many := map[int]*os.File{}
	for n := range wire.MaximumFDs + 1 {
		many[n] = null
	}
	_, err = b.Start("upper", many)
	wantError(t, err, syscall.EMSGSIZE)
	null.Close()
	wantError(t, b.Store("closed", null), os.ErrClosed)
	if err := b.Ready(); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func TestSockets(t *testing.T) {
	b := dial(t)
	echo, err := b.Connect("echo")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	closeOnExec(t, echo.(syscall.Conn))
	buffer := make([]byte, 10)
	echo.Write([]byte("ping"))
	if n, err := echo.Read(buffer); string(buffer[:n]) != "ping" {
		t.Errorf("echo of %q, %v", buffer[:n], err)
	}
	http, err := b.Listen("http")
	if err != nil {
		t.Fatal(err)
	}
	defer http.Close()
	// The grant's path is the monitor's to remove.
	http.(*net.UnixListener).SetUnlinkOnClose(false)
	closeOnExec(t, http.(syscall.Conn))
	near, err := net.Dial("unix", http.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := http.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
}

func TestAccept(t *testing.T) {
	b := dial(t)
	c, err := b.Accept("http")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	closeOnExec(t, c.(syscall.Conn))
	var buffer [16]byte
	if n, err := c.Read(buffer[:]); string(buffer[:n]) != "caller" {
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	if _, err := b.Accept("motd"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("of a file: %v", err)
	}
	if _, err := b.Accept("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestLife(t *testing.T) {
	b := dial(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for what, err := range map[string]error{
		"ready": b.Ready(), "status": b.Status("serving"), "watchdog": b.Watchdog(),
		"store": b.Store("null", null), "store again": b.Store("null", null),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 2 {
		files, err := b.Fetch("null")
		if err != nil || len(files) != 2 {
			t.Fatalf("fetched %d files, %v", len(files), err)
		}
		for _, f := range files {
			closeOnExec(t, f)
			f.Close()
		}
	}
}

func TestNarrowing(t *testing.T) {
	b := dial(t)
	if err := b.Drop("motd"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Open("motd", "", os.O_RDONLY, 0)
	wantError(t, err, fs.ErrPermission)
	wantError(t, b.Drop("nothing"), fs.ErrNotExist)
	content(t, b, "store", "greeting")
	if err := b.Seal("echo", "motd"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Open("store", "greeting", os.O_RDONLY, 0)
	wantError(t, err, fs.ErrPermission)
	_, err = b.Open("motd", "", os.O_RDONLY, 0)
	wantError(t, err, fs.ErrPermission)
	c, err := b.Connect("echo")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	wantError(t, b.Seal(), fs.ErrPermission)
}

func TestStart(t *testing.T) {
	b := dial(t)
	for _, c := range []struct {
		component, text, written string
		result                   Result
		limit, words             string
	}{
		{"upper", "loud", "LOUD", Result{Exited, 0, ""}, "", "exited with status 0"},
		{"status", "3", "", Result{Exited, 3, ""}, "", "exited with status 3"},
		{"limited", "", "", Result{Signaled, 9, "wall-time limit of 5s reached"}, "wall-time", "wall-time limit of 5s reached"},
		{"absent", "", "", Result{NotRun, 2, "exec /usr/bin/absent: no such file or directory"}, "", "exec /usr/bin/absent: no such file or directory"},
	} {
		written, r, err := run(b, c.component, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.component, err)
		}
		if written != c.written || r != c.result || r.Limit() != c.limit || r.String() != c.words {
			t.Errorf("%s wrote %q and ended as %+v (%v)", c.component, written, r, r)
		}
		if r.OK() != (c.component == "upper") {
			t.Errorf("%s: OK is %v", c.component, r.OK())
		}
	}
}

func TestCancel(t *testing.T) {
	b := dial(t)
	w, err := b.Start("sleeper", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	_, err = w.Wait(ctx)
	wantError(t, err, context.DeadlineExceeded)
	if err := w.Cancel(); err != nil {
		t.Fatal(err)
	}
	r, err := w.Wait(t.Context())
	if r != (Result{Signaled, 9, "cancelled by tester"}) || err != nil {
		t.Errorf("the result is %+v, %v", r, err)
	}
	if err := w.Cancel(); err != nil {
		t.Errorf("cancelling again: %v", err)
	}
}

func TestOutOfOrder(t *testing.T) {
	b := dial(t)
	late := make(chan error)
	go func() {
		c, err := b.Connect("late")
		if err == nil {
			c.Close()
		}
		late <- err
	}()
	// Whichever of the two comes first, late's reply is never the first.
	for {
		if err := b.Ready(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-late:
			if err != nil {
				t.Error(err)
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func TestConcurrent(t *testing.T) {
	b := dial(t)
	before := openFiles(t)
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for round := range 50 {
				text := fmt.Sprintf("worker %d round %d", n, round)
				written, r, err := run(b, "upper", text)
				if written != strings.ToUpper(text) || !r.OK() || err != nil {
					t.Errorf("wrote %q, %v, %v", written, r, err)
				}
				if _, err := b.Start("busy", nil); !errors.Is(err, syscall.EAGAIN) {
					t.Errorf("busy: %v", err)
				}
			}
		})
	}
	all.Wait()
	// The peer closes its copies a moment after the result.
	for range 100 {
		if maps.Equal(openFiles(t), before) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("descriptors were left open: %v, before %v", openFiles(t), before)
}

func openFiles(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

func TestMalformed(t *testing.T) {
	for _, name := range peer.Bad() {
		t.Run(name, func(t *testing.T) {
			b := dial(t)
			_, err := b.Connect(name)
			wantError(t, err, ErrProtocol)
			wantError(t, b.Ready(), ErrProtocol)
		})
	}
}

func TestGone(t *testing.T) {
	b := dial(t)
	w, err := b.Start("sleeper", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Connect("gone")
	wantError(t, err, ErrGone)
	_, err = w.Wait(t.Context())
	wantError(t, err, ErrGone)
	wantError(t, b.Ready(), ErrGone)
}

func TestClose(t *testing.T) {
	b := dial(t)
	w, err := b.Start("sleeper", nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { b.Close() })
	_, err = w.Wait(t.Context())
	wantError(t, err, ErrGone)
}

func TestExample(t *testing.T) {
	program := t.TempDir() + "/example"
	peer.Build(t, "go", "build", "-o", program, "./examples")
	if got := peer.Run(t, nil, program, "store", "greeting", "upper"); got != peer.ExampleOutput {
		t.Errorf("the example printed %q, not %q", got, peer.ExampleOutput)
	}
}
