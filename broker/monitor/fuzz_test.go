package monitor

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// What the broker's own processes and a worker's libraries say to the monitor,
// each by the function that reads it off its socket, with descriptors.

// leaves fails if more descriptors are open than were, and says what to pass.
type leaves struct {
	null *os.File
	free int
}

func newLeaves(f *testing.F) *leaves {
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	return &leaves{null: null}
}

func (l *leaves) begin(t *testing.T, count byte) []int {
	l.free = duplicate(t, l.null)
	unix.Close(l.free)
	var passed []int
	for range count {
		passed = append(passed, duplicate(t, l.null))
	}
	return passed
}

func (l *leaves) end(t *testing.T) {
	now := duplicate(t, l.null)
	unix.Close(now)
	if now > l.free {
		t.Fatalf("the lowest free descriptor is %d, and was %d", now, l.free)
	}
}

func sendAll(t *testing.T, socket int, packet []byte, passed []int) {
	var rights []byte
	if len(passed) > 0 {
		rights = unix.UnixRights(passed...)
	}
	if err := unix.Sendmsg(socket, packet, rights, nil, unix.MSG_DONTWAIT); err != nil {
		t.Skip(err) // nobody can send that
	}
	closeAll(passed)
}

func packetPair(f *testing.F) (near, far int) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	return pair[0], pair[1]
}

// FuzzBuilt is what a builder says.
func FuzzBuilt(f *testing.F) {
	var m wire.Message
	for _, op := range []wire.Op{wire.Built, wire.Bound, wire.BuildOver, wire.Build} {
		for fds := range 4 {
			m.Begin(wire.Header{Kind: wire.Event, Op: op, FDs: fds}).U32(1)
			b, _ := m.Bytes()
			f.Add(bytes.Clone(b), byte(fds))
			m.U32(2)
			b, _ = m.Bytes()
			f.Add(bytes.Clone(b), byte(fds))
		}
	}
	l := newLeaves(f)
	near, far := packetPair(f)
	f.Fuzz(func(t *testing.T, packet []byte, fds byte) {
		if len(packet) == 0 || len(packet) > wire.MaximumSize+10 || fds > 20 {
			return
		}
		sendAll(t, far, packet, l.begin(t, fds))
		made := &handover.Built{}
		made.Receive(near, 0, nil)
		made.Close()
		l.end(t)
	})
}

// FuzzKeeperSays is what the keeper answers.
func FuzzKeeperSays(f *testing.F) {
	for what := range uint32(9) {
		b := binary.NativeEndian.AppendUint32(nil, what)
		b = binary.NativeEndian.AppendUint32(b, 1)
		f.Add(append(b, make([]byte, 8)...), byte(1))
		f.Add(append(b, 1, 0, 0, 0, 2, 0, 0, 0), byte(0))
		f.Add(append(b, make([]byte, 9)...), byte(2))
	}
	l := newLeaves(f)
	k := newTalker(f)
	k.m.handover = &handover.Handover{Directory: f.TempDir()}
	k.m.stopping, k.m.loop.done = true, true // a plan that is brought, and a keeper that is gone, are no news
	f.Fuzz(func(t *testing.T, packet []byte, fds byte) {
		if len(packet) == 0 || len(packet) > 64 || fds > 20 || t.Failed() {
			return
		}
		passed := l.begin(t, fds)
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		k.m.keeper = keeper{socket: pair[0], waiting: map[uint32]func(child, error){1: func(c child, err error) {
			if err == nil {
				unix.Close(c.pidfd)
			}
		}}}
		sendAll(t, pair[1], packet, passed)
		k.m.keeperSays()
		if k.m.keeper.socket >= 0 {
			unix.Close(k.m.keeper.socket)
		}
		unix.Close(pair[1])
		l.end(t)
	})
}

// FuzzCommand is what a supervisor says that was taken over.
func FuzzCommand(f *testing.F) {
	var m wire.Message
	for op := range wire.Resolved + 2 {
		for _, numbers := range [][]uint32{nil, {0}, {1, 9, 1}, {0, 1}, {0, 0, 0, 0}} {
			m.Begin(wire.Header{Kind: wire.Request, Op: op, ID: 1})
			for _, n := range numbers {
				m.U32(n)
			}
			b, err := m.Bytes()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(bytes.Clone(b), byte(0))
		}
	}
	l := newLeaves(f)
	k := newTalker(f)
	k.m.handover = &handover.Handover{Supervisor: 1, Resolver: -1, Sweeper: -1, Notify: -1, Ready: -1}
	k.m.keeper = keeper{socket: -1, waiting: map[uint32]func(child, error){}}
	k.m.numbers = k.m.components
	k.m.stopping = true // nobody is told of a sweeper that is not there
	fresh := *k.w
	f.Fuzz(func(t *testing.T, packet []byte, fds byte) {
		if len(packet) > wire.MaximumSize || int(fds) > wire.MaximumFDs {
			return // receive refuses it
		}
		l.begin(t, 0)
		*k.w = fresh
		k.m.workers[1] = k.w
		k.m.obey(packet, int(fds))
		for _, c := range k.m.components {
			k.m.unwatch(c)
			c.builds = nil
		}
		l.end(t)
	})
}

// FuzzNotified is what a worker says by sd_notify(3).
func FuzzNotified(f *testing.F) {
	for _, text := range []string{"READY=1", "STATUS=x\nREADY=1\n", "FDSTORE=1\nFDNAME=a", "FDSTOREREMOVE=1\nFDNAME=a", "WATCHDOG=1", "=", "\n\n", "FDNAME=\xff:/"} {
		f.Add([]byte(text), byte(0))
		f.Add([]byte(text), byte(2))
	}
	l := newLeaves(f)
	k := newTalker(f)
	f.Fuzz(func(t *testing.T, text []byte, fds byte) {
		if len(text) > maximumNotify || fds > 20 {
			return
		}
		k.m.notifiedBy(k.w, text, l.begin(t, fds))
		for _, s := range k.w.component.stored {
			unix.Close(s.fd)
		}
		k.w.component.stored = nil
		l.end(t)
	})
}

// FuzzStub is what a stub says that its caller took over: signals, one a packet.
func FuzzStub(f *testing.F) {
	for _, signal := range []uint32{0, 1, 9, 18, 64, 65, 1 << 31, ^uint32(0)} {
		f.Add(binary.LittleEndian.AppendUint32(nil, signal), byte(0), byte(0))
	}
	f.Add([]byte{15, 0, 0}, byte(0), byte(0))
	f.Add([]byte{15, 0, 0, 0, 0}, byte(0), byte(0))
	f.Add([]byte{15, 0, 0, 0, 0, 0, 0, 0, 0}, byte(0), byte(0))
	f.Add([]byte{15, 0, 0, 0}, byte(1), byte(0))
	f.Add([]byte{15, 0, 0, 0}, byte(0), byte(maximumEarly))
	l := newLeaves(f)
	k := newTalker(f)
	near, far := packetPair(f)
	fresh := *k.w
	f.Fuzz(func(t *testing.T, packet []byte, fds, waiting byte) {
		if len(packet) == 0 || fds > 20 || waiting > maximumEarly {
			return
		}
		passed := l.begin(t, fds)
		*k.w = fresh
		s := &stub{worker: k.w, path: "/usr/bin/helper", socket: near, early: make([]unix.Signal, waiting)}
		sendAll(t, far, packet, passed)
		k.m.stubSays(s)
		signal := uint32(0)
		if len(packet) == 4 && fds == 0 {
			signal = binary.LittleEndian.Uint32(packet)
		}
		good := signal >= 1 && signal <= 64
		if killed := k.w.state == ending; killed == good {
			t.Fatalf("%x with %d descriptors: its worker is killed: %v", packet, fds, killed)
		}
		kept := int(waiting)
		if good {
			kept = min(kept+1, maximumEarly)
		}
		if len(s.early) != kept || good && waiting < maximumEarly && s.early[kept-1] != unix.Signal(signal) {
			t.Fatalf("%x: of %d signals that wait there are now %v", packet, waiting, s.early)
		}
		if s.socket != near {
			t.Fatalf("%x ends the conversation", packet)
		}
		l.end(t)
	})
}
