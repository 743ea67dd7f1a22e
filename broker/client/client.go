// Package client lets a worker ask the monitor for what the policy grants.
//
//	broker, err := client.Dial()              // the socket in SANDBOX_BROKER_FD
//	file, err := broker.Open("store", "a.txt", os.O_RDONLY, 0)
//	worker, err := broker.Start("decode", map[int]*os.File{0: source, 1: sink})
//	result, err := worker.Wait(ctx)
//
// Shapes. Files are *os.File, sockets net.Conn, net.Listener and
// net.PacketConn, a started worker is a Worker and its end a Result. All that
// arrives is close-on-exec and the caller's to close. Files that are given
// away (Start, Store) are copied by the kernel: the caller still owns its own
// and should close what it no longer needs, or the reader of a pipe never
// sees its end.
//
// Errors. A refused request is an *fs.PathError that holds the errno:
// fs.ErrPermission (not permitted), fs.ErrNotExist (no such grant or file),
// syscall.EAGAIN (every worker is busy and the queue is full). ErrGone means
// that the monitor has ended or the Broker is closed, ErrProtocol that the
// monitor said something malformed; after either, every request fails with it.
//
// Goroutines. A Broker may be used by many at once. It has one of its own,
// which reads the socket and ends with Close.
//
// Lifetimes. Workers are killed by the monitor when this process ends, not by
// Close and not by the loss of a Worker.
//
// The protocol is described in docs/protocol.md.
package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"bulkhead/broker/wire"
)

// The ways in which a connection to the monitor ends.
var (
	ErrGone     = errors.New("the monitor has ended")
	ErrProtocol = errors.New("the monitor sent a malformed message")
)

// Broker is the connection to the monitor.
type Broker struct {
	conn *net.UnixConn

	mu    sync.Mutex
	calls map[uint32]*call
	last  uint32 // id
	err   error  // what ended the connection
}

// call is a request that waits for its reply and, if it is a start, its event.
type call struct {
	op      wire.Op
	reply   chan reply // room for one, so that the reader never waits
	replied bool
	worker  *Worker // of a start
}

type reply struct {
	errno syscall.Errno
	body  []byte
	files []*os.File
	err   error // the connection has ended
}

// Dial takes the socket whose number is in SANDBOX_BROKER_FD. It is called
// once in the life of a process.
func Dial() (*Broker, error) {
	text, ok := os.LookupEnv("SANDBOX_BROKER_FD")
	if !ok {
		return nil, errors.New("SANDBOX_BROKER_FD is not set: the process does not run under Bulkhead")
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("SANDBOX_BROKER_FD is not a descriptor: %q", text)
	}
	syscall.CloseOnExec(fd)
	return New(os.NewFile(uintptr(fd), "broker"))
}

// New takes a connected socket and owns it from then on.
func New(socket *os.File) (*Broker, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, fmt.Errorf("the broker socket: %w", err)
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok || unix.LocalAddr().Network() != "unixpacket" {
		conn.Close()
		return nil, fmt.Errorf("the broker socket is of network %s, not unixpacket", conn.LocalAddr().Network())
	}
	b := &Broker{conn: unix, calls: map[uint32]*call{}}
	go b.read()
	return b, nil
}

// Close closes the socket. Requests that wait fail with ErrGone.
func (b *Broker) Close() error {
	b.end(ErrGone)
	return nil
}

// Open opens a file. For a directory grant path is relative to the directory,
// for a file grant it is empty; mode counts only with os.O_CREATE.
func (b *Broker) Open(grant, path string, flags int, mode fs.FileMode) (*os.File, error) {
	what := grant
	if path != "" {
		what += "/" + path
	}
	if flags&os.O_CREATE == 0 {
		mode = 0
	}
	return b.file(wire.Open, "open", what, func(m *wire.Message) {
		m.U32(uint32(flags &^ syscall.O_CLOEXEC)).U32(uint32(mode.Perm())).String(grant).String(path)
	})
}

// Connect returns a new connected socket of a connect grant.
func (b *Broker) Connect(grant string) (net.Conn, error) {
	f, err := b.file(wire.Connect, "connect", grant, func(m *wire.Message) { m.String(grant) })
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileConn(f)
}

// Listen returns the listening socket of a listen grant.
func (b *Broker) Listen(grant string) (net.Listener, error) {
	f, err := b.listen(grant)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// Accept waits until somebody connects to the socket of a listen grant and
// returns that connection. This process never has the socket.
func (b *Broker) Accept(grant string) (net.Conn, error) {
	f, err := b.file(wire.Accept, "accept", grant, func(m *wire.Message) { m.String(grant) })
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileConn(f)
}

// ListenPacket returns the socket of a listen grant for datagrams.
func (b *Broker) ListenPacket(grant string) (net.PacketConn, error) {
	f, err := b.listen(grant)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FilePacketConn(f)
}

func (b *Broker) listen(grant string) (*os.File, error) {
	return b.file(wire.Listen, "listen", grant, func(m *wire.Message) { m.String(grant) })
}

// Ready says that this worker is ready to serve.
func (b *Broker) Ready() error { return b.nothing(wire.Ready, "ready", "", nil) }

// Status says in words what this worker does; `sandbox inspect` shows it.
func (b *Broker) Status(text string) error {
	return b.nothing(wire.Status, "status", "", func(m *wire.Message) { m.String(text) })
}

// Watchdog says that this worker is alive, within the policy's watchdog time.
func (b *Broker) Watchdog() error { return b.nothing(wire.Watchdog, "watchdog", "", nil) }

// Store leaves a file with the monitor, to be fetched after a restart.
func (b *Broker) Store(name string, file *os.File) error {
	return b.nothing(wire.Store, "store", name, func(m *wire.Message) { m.String(name) }, file)
}

// Fetch returns the files that are stored under name; they stay stored.
// Without any it fails with fs.ErrNotExist.
func (b *Broker) Fetch(name string) ([]*os.File, error) {
	r, err := b.request(&call{op: wire.Fetch}, "fetch", name, func(m *wire.Message) { m.String(name) })
	if err != nil {
		return nil, err
	}
	if len(r.body) != 0 {
		return nil, b.malformed(r)
	}
	return r.files, nil
}

// Drop gives up a grant for good.
func (b *Broker) Drop(grant string) error {
	return b.nothing(wire.Drop, "drop", grant, func(m *wire.Message) { m.String(grant) })
}

// Seal gives up every grant but these for good.
func (b *Broker) Seal(grants ...string) error {
	return b.nothing(wire.Seal, "seal", "", func(m *wire.Message) {
		m.U16(uint16(len(grants)))
		for _, g := range grants {
			m.String(g)
		}
	})
}

// file makes a request that is answered by one descriptor.
func (b *Broker) file(op wire.Op, verb, object string, body func(*wire.Message)) (*os.File, error) {
	r, err := b.request(&call{op: op}, verb, object, body)
	if err != nil {
		return nil, err
	}
	if len(r.body) != 0 || len(r.files) != 1 {
		return nil, b.malformed(r)
	}
	return r.files[0], nil
}

// nothing makes a request that is answered by nothing but success.
func (b *Broker) nothing(op wire.Op, verb, object string, body func(*wire.Message), files ...*os.File) error {
	r, err := b.request(&call{op: op}, verb, object, body, files...)
	if err != nil {
		return err
	}
	if len(r.body) != 0 || len(r.files) != 0 {
		return b.malformed(r)
	}
	return nil
}

// malformed ends the connection because of a reply that does not fit its request.
func (b *Broker) malformed(r reply) error {
	closeAll(r.files)
	b.end(ErrProtocol)
	return ErrProtocol
}
