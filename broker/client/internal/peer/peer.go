// Package peer stands in for the monitor in the tests of the clients: it
// answers a worker's requests from a small world of its own, out of package
// wire, and misbehaves when it is asked to.
//
// It knows these grants:
//
//	store  a directory with the file greeting, which holds "hello\n"
//	motd   a file that holds "motd\n"
//	echo   a connection that sends back what it gets
//	http   a listening socket
//	late   a connection whose reply waits until another request has come
//
// and these components:
//
//	upper      copies descriptor 0 to 1 in upper case and exits with 0
//	status     exits with the status that it reads from descriptor 0
//	sleeper    runs until it is cancelled
//	limited    is killed by its wall-time limit
//	absent     has a program that cannot be executed
//	busy       has no room in its queue
//	forbidden  is not in may-start
//
// A connect to bad-… is answered with the malformed message of that name
// (see bad), one to gone with the end of the connection.
package peer

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"bulkhead/broker/wire"
)

// permitted are the flags of open that the protocol knows.
const permitted = syscall.O_WRONLY | syscall.O_RDWR | syscall.O_CREAT | syscall.O_EXCL |
	syscall.O_TRUNC | syscall.O_APPEND | syscall.O_NONBLOCK

// peer is the state of one connection.
type peer struct {
	t      testing.TB
	conn   *net.UnixConn
	dir    string
	http   *net.UnixListener
	grants map[string]bool // known ones; true: not given up
	sealed bool

	mu      sync.Mutex // guards what the workers' goroutines share with the reader
	stored  map[string][]*os.File
	workers map[uint32]chan struct{} // closed to cancel
	next    uint32
	late    func()         // the reply that waits
	running sync.WaitGroup // its servers and workers
}

// Start starts a peer for the length of a test and returns the worker's end
// of its socket. A malformed request fails the test.
func Start(t testing.TB) *os.File {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(pair[0]), "monitor")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		t:       t,
		conn:    conn.(*net.UnixConn),
		dir:     t.TempDir(),
		grants:  map[string]bool{"store": true, "motd": true, "echo": true, "http": true, "late": true},
		stored:  map[string][]*os.File{},
		workers: map[uint32]chan struct{}{},
	}
	if err := os.Mkdir(filepath.Join(p.dir, "store"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"store/greeting": "hello\n", "motd": "motd\n"} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.http, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(p.dir, "http"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); p.serve() }()
	worker := os.NewFile(uintptr(pair[1]), "worker")
	t.Cleanup(func() {
		worker.Close()
		p.conn.Close()
		<-done
		p.running.Wait() // what they have open is nobody's of the next test
		p.http.Close()
	})
	return worker
}

func (p *peer) serve() {
	defer func() {
		for _, files := range p.stored {
			closeAll(files)
		}
		// Who asked is gone, and what was started for it goes too.
		p.mu.Lock()
		defer p.mu.Unlock()
		for number, cancel := range p.workers {
			close(cancel)
			delete(p.workers, number)
		}
	}()
	packet := make([]byte, wire.MaximumSize+1)
	control := make([]byte, syscall.CmsgSpace(4*(wire.MaximumFDs+1)))
	for {
		n, c, _, _, err := p.conn.ReadMsgUnix(packet, control)
		if n == 0 || err != nil {
			return
		}
		files := received(control[:c])
		h, body, err := wire.Parse(packet[:n], len(files))
		if err == nil && h.Kind != wire.Request {
			err = wire.ErrHeader
		}
		if err == nil {
			err = p.answer(h, &body, files)
		}
		if err != nil {
			p.t.Errorf("malformed request of %d bytes and %d descriptors: %v: % x", n, len(files), err, packet[:n])
			p.conn.Close()
			return
		}
	}
}

// answer answers one request; an error means that it was malformed.
func (p *peer) answer(h wire.Header, body *wire.Body, files []*os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if late := p.late; late != nil {
		p.late = nil
		defer late()
	}
	if h.Op != wire.Start && h.Op != wire.Store && len(files) != 0 {
		return wire.ErrFDs
	}
	switch h.Op {
	case wire.Open:
		flags, mode, grant, path := body.U32(), body.U32(), body.String(), body.String()
		if err := body.End(); err != nil {
			return err
		}
		file, errno := p.open(int(flags), mode, grant, path)
		p.reply(h, errno, nil, file)
		closeAll([]*os.File{file})
	case wire.Connect:
		grant := body.String()
		if err := body.End(); err != nil {
			return err
		}
		p.connect(h, grant)
	case wire.Listen:
		grant := body.String()
		if err := body.End(); err != nil {
			return err
		}
		if errno := p.named(grant, "http"); errno != 0 {
			p.reply(h, errno, nil)
			return nil
		}
		file, err := p.http.File()
		if err != nil {
			p.t.Error(err)
		}
		p.reply(h, 0, nil, file)
		closeAll([]*os.File{file})
	case wire.Accept:
		grant := body.String()
		if err := body.End(); err != nil {
			return err
		}
		if errno := p.named(grant, "http"); errno != 0 {
			p.reply(h, errno, nil)
			return nil
		}
		// Somebody connects at once, and says so.
		near, err := net.Dial("unix", p.http.Addr().String())
		if err != nil {
			p.t.Error(err)
			return nil
		}
		far, err := p.http.AcceptUnix()
		if err != nil {
			p.t.Error(err)
			return nil
		}
		near.Write([]byte("caller"))
		near.Close()
		file, err := far.File()
		if err != nil {
			p.t.Error(err)
		}
		p.reply(h, 0, nil, file)
		far.Close()
		closeAll([]*os.File{file})
	case wire.Start:
		component := body.String()
		numbers := make([]uint16, body.U16())
		for i := range numbers {
			numbers[i] = body.U16()
		}
		if err := body.End(); err != nil {
			return err
		}
		if len(numbers) != len(files) {
			return wire.ErrFDs
		}
		descriptors := map[uint16]*os.File{}
		for i, n := range numbers {
			descriptors[n] = files[i]
		}
		p.start(h, component, descriptors)
	case wire.Cancel:
		number := body.U32()
		if err := body.End(); err != nil {
			return err
		}
		cancel, ok := p.workers[number]
		if !ok {
			p.reply(h, syscall.ESRCH, nil)
			return nil
		}
		delete(p.workers, number)
		p.reply(h, 0, nil)
		close(cancel)
	case wire.Ready, wire.Watchdog:
		if err := body.End(); err != nil {
			return err
		}
		p.reply(h, 0, nil)
	case wire.Status:
		body.Bytes()
		if err := body.End(); err != nil {
			return err
		}
		p.reply(h, 0, nil)
	case wire.Store:
		name := body.String()
		if err := body.End(); err != nil {
			return err
		}
		if len(files) != 1 {
			return wire.ErrFDs
		}
		p.stored[name] = append(p.stored[name], files[0])
		p.reply(h, 0, nil)
	case wire.Fetch:
		name := body.String()
		if err := body.End(); err != nil {
			return err
		}
		if len(p.stored[name]) == 0 {
			p.reply(h, syscall.ENOENT, nil)
			return nil
		}
		p.reply(h, 0, nil, p.stored[name]...)
	case wire.Drop:
		grant := body.String()
		if err := body.End(); err != nil {
			return err
		}
		if _, known := p.grants[grant]; !known {
			p.reply(h, syscall.ENOENT, nil)
			return nil
		}
		p.grants[grant] = false
		p.reply(h, 0, nil)
	case wire.Seal:
		keep := make([]string, body.U16())
		for i := range keep {
			keep[i] = body.String()
		}
		if err := body.End(); err != nil {
			return err
		}
		if p.sealed {
			p.reply(h, syscall.EPERM, nil)
			return nil
		}
		p.sealed = true
		for name, held := range p.grants {
			p.grants[name] = held && slices.Contains(keep, name)
		}
		p.reply(h, 0, nil)
	default:
		return errors.New("unknown operation")
	}
	return nil
}

func (p *peer) open(flags int, mode uint32, grant, path string) (*os.File, syscall.Errno) {
	if errno := p.named(grant, "store", "motd"); errno != 0 {
		return nil, errno
	}
	if flags&^permitted != 0 || (flags&syscall.O_CREAT == 0 && mode != 0) {
		return nil, syscall.EINVAL
	}
	if (grant == "motd") != (path == "") {
		return nil, syscall.EISDIR
	}
	fd, err := syscall.Open(filepath.Join(p.dir, grant, path), flags|syscall.O_CLOEXEC, mode)
	if err != nil {
		return nil, err.(syscall.Errno)
	}
	return os.NewFile(uintptr(fd), path), 0
}

func (p *peer) connect(h wire.Header, grant string) {
	switch {
	case grant == "gone":
		p.conn.Close()
		return
	case strings.HasPrefix(grant, "bad-"):
		p.bad(h, grant)
		return
	}
	if errno := p.named(grant, "echo", "late"); errno != 0 {
		p.reply(h, errno, nil)
		return
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		p.t.Error(err)
		return
	}
	far, near := os.NewFile(uintptr(pair[0]), "echo"), os.NewFile(uintptr(pair[1]), "echo")
	p.running.Go(func() { io.Copy(far, far); far.Close() })
	send := func() { p.reply(h, 0, nil, near); near.Close() }
	if grant == "late" {
		p.late = send
		return
	}
	send()
}

// Bad returns the names of the malformed messages.
func Bad() []string {
	return []string{"bad-short", "bad-long", "bad-version", "bad-kind", "bad-reserved", "bad-body", "bad-id",
		"bad-operation", "bad-event", "bad-missing", "bad-none", "bad-two", "bad-many", "bad-refusal"}
}

// bad answers a connect with a malformed message.
func (p *peer) bad(h wire.Header, name string) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer null.Close()
	good := wire.Header{Kind: wire.Reply, Op: h.Op, ID: h.ID, FDs: 1}
	var m wire.Message
	files := []*os.File{null}
	packet, _ := m.Begin(good).Bytes()
	switch name {
	case "bad-short":
		packet = packet[:wire.HeaderSize-1]
	case "bad-long":
		packet = append(bytes.Clone(packet), make([]byte, wire.MaximumSize)...)
	case "bad-version":
		packet[0] = 2
	case "bad-kind":
		packet[1] = byte(wire.Request)
	case "bad-reserved":
		packet[14] = 1
	case "bad-body":
		packet, _ = m.Begin(good).U32(1).Bytes()
	case "bad-id":
		good.ID += 1000
		packet, _ = m.Begin(good).Bytes()
	case "bad-operation":
		good.Op = wire.Listen
		packet, _ = m.Begin(good).Bytes()
	case "bad-event":
		good.Kind = wire.Event
		packet, _ = m.Begin(good).Bytes()
	case "bad-missing":
		files = nil
	case "bad-none":
		good.FDs, files = 0, nil
		packet, _ = m.Begin(good).Bytes()
	case "bad-two":
		good.FDs, files = 2, []*os.File{null, null}
		packet, _ = m.Begin(good).Bytes()
	case "bad-many":
		files = slices.Repeat(files, 40)
		good.FDs = len(files)
		packet, _ = m.Begin(good).Bytes()
	case "bad-refusal":
		good.Status = uint32(syscall.EPERM)
		packet, _ = m.Begin(good).Bytes()
	default:
		p.t.Errorf("nothing bad is called %s", name)
	}
	p.send(packet, files)
}

// start plays a worker of another component.
func (p *peer) start(h wire.Header, component string, descriptors map[uint16]*os.File) {
	files := slices.Collect(maps.Values(descriptors))
	how, code, reason := uint32(wire.Exited), uint32(0), ""
	run := func(<-chan struct{}) {}
	switch component {
	case "upper":
		run = func(<-chan struct{}) {
			text, err := io.ReadAll(descriptors[0])
			if err != nil {
				p.t.Error(err)
			}
			if _, err := descriptors[1].Write(bytes.ToUpper(text)); err != nil {
				p.t.Error(err)
			}
		}
	case "status":
		run = func(<-chan struct{}) {
			text, err := io.ReadAll(descriptors[0])
			if err != nil {
				p.t.Error(err)
			}
			status, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				p.t.Error(err)
			}
			code = uint32(status)
		}
	case "sleeper":
		how, code, reason = wire.Signaled, uint32(syscall.SIGKILL), "cancelled by tester"
		run = func(cancel <-chan struct{}) { <-cancel }
	case "limited":
		how, code, reason = wire.Signaled, uint32(syscall.SIGKILL), "wall-time limit of 5s reached"
	case "absent":
		how, code, reason = wire.NotRun, uint32(syscall.ENOENT), "exec /usr/bin/absent: no such file or directory"
	default:
		errno := syscall.EPERM
		if component == "busy" {
			errno = syscall.EAGAIN
		}
		p.reply(h, errno, nil)
		closeAll(files)
		return
	}
	p.next++
	number, cancel := p.next, make(chan struct{})
	p.workers[number] = cancel
	var m wire.Message
	p.reply(h, 0, m.Begin(wire.Header{Kind: wire.Reply, Op: h.Op, ID: h.ID}).U32(number))
	p.running.Go(func() {
		run(cancel)
		closeAll(files)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.workers, number)
		packet, _ := m.Begin(wire.Header{Kind: wire.Event, Op: h.Op, ID: h.ID}).U32(how).U32(code).String(reason).Bytes()
		p.send(packet, nil)
	})
}

// named says whether grant is held and one of the given ones.
func (p *peer) named(grant string, kinds ...string) syscall.Errno {
	held, known := p.grants[grant]
	switch {
	case !known:
		return syscall.ENOENT
	case !held:
		return syscall.EPERM
	case !slices.Contains(kinds, grant):
		return syscall.EINVAL
	}
	return 0
}

// reply sends m, or an empty reply with a status.
func (p *peer) reply(h wire.Header, status syscall.Errno, m *wire.Message, files ...*os.File) {
	if status != 0 {
		files = nil
	}
	if m == nil {
		m = new(wire.Message)
		m.Begin(wire.Header{Kind: wire.Reply, Op: h.Op, ID: h.ID, Status: uint32(status), FDs: len(files)})
	}
	packet, err := m.Bytes()
	if err != nil {
		p.t.Error(err)
	}
	p.send(packet, files)
}

func (p *peer) send(packet []byte, files []*os.File) {
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	// An error means that the worker has ended, which it may at any time.
	_, _, _ = p.conn.WriteMsgUnix(packet, rights, nil)
}

func received(control []byte) []*os.File {
	var files []*os.File
	messages, _ := syscall.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, _ := syscall.ParseUnixRights(&m)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
