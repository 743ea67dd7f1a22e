// Package wire is the format of the messages between the processes of one
// application: worker and monitor, supervisor and monitor.
//
// One packet of a SOCK_SEQPACKET socket is one message: a header of
// HeaderSize bytes and a body, at most MaximumSize bytes together, with at
// most MaximumFDs descriptors. docs/protocol.md is the reference; everything
// here is little-endian and nothing is aligned.
package wire

import (
	"encoding/binary"
	"errors"
)

// The bounds of a message.
const (
	Version     = 1
	HeaderSize  = 16
	MaximumSize = 4096 // bytes, header included
	MaximumFDs  = 16   // descriptors
	MaximumText = 3072 // bytes of a reason, in answers that are nothing else
)

// Kind says who speaks.
type Kind uint8

// The kinds of message.
const (
	Request Kind = 1 // asks; its ID is chosen by the sender
	Reply   Kind = 2 // answers the request with the same ID, exactly once
	Event   Kind = 3 // tells; ID is that of the request it belongs to, or 0
)

// Op is what a message is about.
type Op uint16

// The operations that a worker may ask for, as far as its component's state
// permits.
const (
	Open     Op = 1  // u32 flags, u32 mode, string grant, string path -> 1 descriptor
	Connect  Op = 2  // string grant -> 1 descriptor
	Listen   Op = 3  // string grant -> 1 descriptor
	Start    Op = 4  // string component, numbers of the descriptors that come with it -> u32 worker; later an Event
	Cancel   Op = 5  // u32 worker: ends a worker that this worker started
	Ready    Op = 6  // nothing
	Status   Op = 7  // string
	Watchdog Op = 8  // nothing
	Store    Op = 9  // string name, 1 descriptor
	Fetch    Op = 10 // string name -> the descriptors stored under it
	Drop     Op = 11 // string grant: given up for good
	Seal     Op = 12 // u16 count, strings: the only grants from now on
	Accept   Op = 13 // string grant -> 1 descriptor, when somebody connects
	Resolved Op = 14 // string name, string why not, u16 count, strings: its addresses; of Bulkhead's own resolver only
)

// The operations between supervisor and monitor. The supervisor's are
// Requests, whose Reply is a u32 (a worker, or 0) or, refused, a string that
// says why; the monitor's are Events.
const (
	StartWorker     Op = 64 // supervisor: u32 component -> u32 worker; WorkerStarted or WorkerFailed follows
	SignalWorker    Op = 65 // supervisor: u32 worker, u32 signal, u32 whole (1: every process of it, SIGKILL only)
	Rebuild         Op = 66 // supervisor: u32 component: builds its lost compartment again
	Finish          Op = 67 // supervisor: u32 exit status; the application is over
	Hold            Op = 68 // supervisor: u32 component, u32 held (1: no worker of it starts except by StartWorker, 2: requests for them wait, 0)
	Probe           Op = 69 // supervisor: u32 component: tries once what shows its readiness (connect, command); status 0 when it is ready
	OpenLog         Op = 70 // supervisor: u32 log of the plan, u32 again (1: the file is renamed first, 0): LogFile comes before the Reply
	Check           Op = 71 // supervisor: u32 component: tries once whether it is healthy (connect, command); for http HealthSocket comes before the Reply
	Watch           Op = 72 // supervisor: u32 component, u32 on (1, 0): Demanded comes, once, when a connection waits at one of its sockets
	Retire          Op = 73 // supervisor: u32 worker, u32 signal (0: only asks): sent if no connection of its component is open or waits, else EBUSY
	Announce        Op = 74 // supervisor: u32 what (1: the application is up, 2: it stops, 3: the supervisor lives), for the service manager that started the broker -> u32 milliseconds until the next 3, 0: none
	Reload          Op = 75 // supervisor: u32 go (1: what changes is down, 0: it cannot be now): answers Reloading
	Adopted         Op = 76 // supervisor: nothing; from here on its numbers are those of the new plan
	Tidy            Op = 77 // supervisor: u32 component, u32 how (Exited, Signaled), u32 code: runs its finish command; ECANCELED when that ends with 125
	Freeze          Op = 78 // supervisor: u32 worker, u32 on (1, 0): every process of it stands still, or goes on
	EndTidy         Op = 79 // supervisor: u32 component: kills its finish command; the answer to Tidy comes when that is gone
	OutputPipe      Op = 80 // monitor: u32 component, u32 stream (1, 2), 1 descriptor to read from
	WorkerStarted   Op = 81 // monitor: u32 worker, u32 component, u32 pid on the host, u32 worker that asked (0: the supervisor)
	WorkerFailed    Op = 82 // monitor: u32 worker, u32 component, u32 errno, string step: its program never ran
	WorkerEnded     Op = 83 // monitor: u32 worker, u32 component, u32 how, u32 code, u64 microseconds of processor, u64 peak bytes, string reason
	WorkerSays      Op = 84 // monitor: u32 worker, u32 component, u32 op (Ready, Status, Watchdog), string
	Denied          Op = 85 // monitor: u32 worker, u32 component, u32 system call, u32 errno, 3 u64 arguments, string object, u32 times
	Granted         Op = 86 // monitor: u32 worker, u32 component, u32 grant, string object, u32 times
	StopAsked       Op = 87 // monitor: u32 signal that the broker received, 0: none, u32 status that the application ends with
	CompartmentLost Op = 88 // monitor: u32 component, string why: its init died
	Queued          Op = 89 // monitor: u32 component, u32 length of its queue of requests
	LogFile         Op = 90 // monitor: u32 log of the plan, 1 descriptor: a file to append to, or a socket to journald
	HealthSocket    Op = 91 // monitor: u32 component, 1 descriptor connected to the grant of its health check
	Demanded        Op = 92 // monitor: u32 component
	Named           Op = 93 // monitor: u32 component (the resolver), u32 resolves (1, 0), string what a name of grants stands for
	Reloading       Op = 94 // monitor: 1 descriptor of a new plan; the supervisor takes down what it changes, and says Reload
	Reloaded        Op = 95 // monitor: u32 components; from here on all numbers are those of the new plan, or, with 0, it is given up
	Begin           Op = 96 // monitor: nothing, before everything else: all compartments are there
)

// The operations between the builder of compartments and who wants some: the
// launcher, and the monitor afterwards.
const (
	Build     Op = 100 // monitor, Request: u32 count, u32 components; u32 count, u32 grants to listen for
	Built     Op = 101 // builder, Event: u32 component, u32 pid; 2 descriptors: its init's socket and pidfd
	Bound     Op = 102 // builder, Event: u32 grant; 1 descriptor
	BuildOver Op = 103 // builder, Reply: nothing, or, refused, a string that says why; all of it is undone then
	BuildAll  Op = 104 // launcher, Request: every component, nothing to listen for: u32 the supervisor's number, string the application's directory, string its cgroup; 2 descriptors: the plan, the sweeper's pipe
)

// Apply is what sandbox reload asks of the monitor, on a socket of its own: a
// Request with 1 descriptor, the sealed plan. The Reply comes when it is done;
// refused, it has a string that says why.
const Apply Op = 110

// How a worker ended, in Start's Event and WorkerEnded.
const (
	Exited   = 1 // code is the exit status
	Signaled = 2 // code is the signal
	NotRun   = 3 // code is the errno: the program never ran
)

// LeftProcesses is the reason in WorkerEnded of a program that exited with status 0
// while others that it had started ran on: they ended with it.
const LeftProcesses = "left processes behind"

// Header is the fixed part of a message.
//
//	offset  size
//	0       1     version
//	1       1     kind
//	2       2     operation
//	4       4     id
//	8       4     status: 0, or the errno of a refused request (replies only)
//	12      2     number of descriptors that come with the packet
//	14      2     zero
type Header struct {
	Kind   Kind
	Op     Op
	ID     uint32
	Status uint32
	FDs    int
}

// The ways in which a packet is malformed. They are values, not texts made
// on the spot: decoding allocates nothing.
var (
	ErrShort    = errors.New("wire: the packet ends too early")
	ErrLong     = errors.New("wire: bytes stand behind the end of the message")
	ErrVersion  = errors.New("wire: unknown protocol version")
	ErrHeader   = errors.New("wire: the header is malformed")
	ErrFDs      = errors.New("wire: the number of descriptors is not the announced one")
	ErrString   = errors.New("wire: a string holds a zero byte")
	ErrTooLarge = errors.New("wire: the message is larger than 4096 bytes")
)

// Message is one packet to be sent, built in place without allocation.
type Message struct {
	b   [MaximumSize]byte
	n   int
	err error
}

// Begin starts a message.
func (m *Message) Begin(h Header) *Message {
	m.n, m.err = HeaderSize, nil
	m.b[0] = Version
	m.b[1] = byte(h.Kind)
	binary.LittleEndian.PutUint16(m.b[2:], uint16(h.Op))
	binary.LittleEndian.PutUint32(m.b[4:], h.ID)
	binary.LittleEndian.PutUint32(m.b[8:], h.Status)
	binary.LittleEndian.PutUint16(m.b[12:], uint16(h.FDs))
	binary.LittleEndian.PutUint16(m.b[14:], 0)
	return m
}

func (m *Message) room(n int) []byte {
	if m.err != nil || m.n+n > MaximumSize {
		m.err = ErrTooLarge
		return nil
	}
	b := m.b[m.n : m.n+n]
	m.n += n
	return b
}

// U16 appends a number.
func (m *Message) U16(v uint16) *Message {
	if b := m.room(2); b != nil {
		binary.LittleEndian.PutUint16(b, v)
	}
	return m
}

// U32 appends a number.
func (m *Message) U32(v uint32) *Message {
	if b := m.room(4); b != nil {
		binary.LittleEndian.PutUint32(b, v)
	}
	return m
}

// U64 appends a number.
func (m *Message) U64(v uint64) *Message {
	if b := m.room(8); b != nil {
		binary.LittleEndian.PutUint64(b, v)
	}
	return m
}

// String appends a string with its length in front.
func (m *Message) String(s string) *Message {
	if b := m.room(2 + len(s)); b != nil {
		binary.LittleEndian.PutUint16(b, uint16(len(s)))
		copy(b[2:], s)
	}
	return m
}

// Bytes returns the packet, valid until the next Begin, or ErrTooLarge.
func (m *Message) Bytes() ([]byte, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.b[:m.n], nil
}

// Body reads the fields of a message in order. The first failure sticks and
// every later read gives zero values; End reports it.
type Body struct {
	b   []byte
	err error
}

// Parse splits a packet. fds is how many descriptors came with it.
func Parse(packet []byte, fds int) (Header, Body, error) {
	if len(packet) < HeaderSize {
		return Header{}, Body{}, ErrShort
	}
	if len(packet) > MaximumSize {
		return Header{}, Body{}, ErrTooLarge
	}
	if packet[0] != Version {
		return Header{}, Body{}, ErrVersion
	}
	h := Header{
		Kind:   Kind(packet[1]),
		Op:     Op(binary.LittleEndian.Uint16(packet[2:])),
		ID:     binary.LittleEndian.Uint32(packet[4:]),
		Status: binary.LittleEndian.Uint32(packet[8:]),
		FDs:    int(binary.LittleEndian.Uint16(packet[12:])),
	}
	if h.Kind < Request || h.Kind > Event || packet[14] != 0 || packet[15] != 0 {
		return Header{}, Body{}, ErrHeader
	}
	if h.Kind != Reply && h.Status != 0 {
		return Header{}, Body{}, ErrHeader
	}
	if h.FDs != fds || fds > MaximumFDs {
		return Header{}, Body{}, ErrFDs
	}
	return h, Body{b: packet[HeaderSize:]}, nil
}

func (d *Body) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if len(d.b) < n {
		d.err = ErrShort
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// U16 reads a number.
func (d *Body) U16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads a number.
func (d *Body) U32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads a number.
func (d *Body) U64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Bytes reads a string without copying it: the bytes belong to the packet.
// They hold no zero byte, so that they are the same string for the kernel.
func (d *Body) Bytes() []byte {
	b := d.take(int(d.U16()))
	for _, c := range b {
		if c == 0 {
			d.err = ErrString
			return nil
		}
	}
	return b
}

// String reads a string.
func (d *Body) String() string { return string(d.Bytes()) }

// End says whether everything was there and nothing more.
func (d *Body) End() error {
	if d.err == nil && len(d.b) != 0 {
		d.err = ErrLong
	}
	return d.err
}
