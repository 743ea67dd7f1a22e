package monitor

import (
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/sandbox/worker"
)

// stub is what stands for a worker in the component that executed its program
// (sandbox/stub/stub.c).
type stub struct {
	caller    *caller
	path      string   // what was executed
	worker    *work    // whose process the stub is
	socket    int      // the monitor's end, -1 when it is closed
	request   *request // while it waits
	started   *work    // what it stands for, nil before it is there
	early     []unix.Signal
	directory string // the caller's
	stopped   bool   // it was told to stop, and nothing has woken it since
	held      bool   // it was stopped by somebody else, and its program with it
	echo      bool   // … of which its worker's init will tell
}

// What the monitor tells a stub: u32 what, u32 value, text.
const (
	stubExited  = 1 // exit status
	stubKilled  = 2 // signal
	stubStopped = 3 // signal
	stubFailed  = 4 // exit status; why
)

// maximumEarly bounds the signals that wait for a program to start. There are
// no more kinds of them.
const maximumEarly = 64

// connectStub answers the stub's call with a socket.
func (m *Monitor) connectStub(s *stub, n *notification) syscall.Errno {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(pair[1])
	if err := m.loop.add(pair[0], unix.EPOLLIN, func(uint32) { m.stubSays(s) }); err != nil {
		unix.Close(pair[0])
		return errnoOf(err)
	}
	s.socket = pair[0]
	if errno := m.hand(s.worker, n, pair[1], true); errno != 0 {
		m.dropStub(s)
		return errno
	}
	return 0
}

// stubSays reads one signal that reached the stub, or that it is gone.
func (m *Monitor) stubSays(s *stub) {
	var b [8]byte
	n, _, flags, _, err := unix.Recvmsg(s.socket, b[:], nil, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		m.dropStub(s)
		m.stubGone(s)
		return
	}
	signal := unix.Signal(binary.LittleEndian.Uint32(b[:]))
	if n != 4 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || signal < 1 || signal > 64 {
		m.kill(s.worker, "its stub for "+s.path+" sent the monitor a malformed message")
		return
	}
	if signal == unix.SIGCONT {
		s.stopped, s.held = false, false
	}
	switch w := s.started; {
	case w != nil && w.program >= 0:
		unix.PidfdSendSignal(w.program, signal, nil, 0)
	case len(s.early) < maximumEarly:
		s.early = append(s.early, signal)
	}
}

// stubGone ends what a stub stood for: whoever killed it meant the program.
func (m *Monitor) stubGone(s *stub) {
	if w := s.started; w != nil {
		if !w.ended {
			m.kill(w, "what executed its program was killed")
		}
		return
	}
	if s.request == nil {
		return
	}
	for _, c := range m.components {
		for i, r := range c.queue {
			if r == s.request {
				c.queue = append(c.queue[:i:i], c.queue[i+1:]...)
				m.tellQueue(c)
				break
			}
		}
	}
	s.request = nil
	s.caller.close()
}

// dropStub closes the monitor's end.
func (m *Monitor) dropStub(s *stub) {
	m.loop.close(s.socket)
	s.socket = -1
}

// tellStub sends a stub its last message, or that it is to stop. One whose
// socket is full has not read for a long time; it hears of the end all the
// same, because its socket closes.
func (m *Monitor) tellStub(s *stub, what, value uint32, text string) {
	if s.socket < 0 {
		return
	}
	b := binary.LittleEndian.AppendUint32(nil, what)
	b = binary.LittleEndian.AppendUint32(b, value)
	send(s.socket, append(b, bounded(text)...), nil)
	if what != stubStopped {
		m.dropStub(s)
	}
}

func (m *Monitor) stubStarted(w *work, notes uint32) {
	for _, signal := range w.stub.early {
		unix.PidfdSendSignal(w.program, signal, nil, 0)
	}
	w.stub.early = nil
	m.watchStubs()
	if notes&worker.NoteDirectory != 0 {
		m.deny(w, denial{call: callSplit, errno: unix.ENOENT, object: "enter " + w.stub.directory})
	}
}

func (m *Monitor) stubEnds(s *stub, how, code uint32) {
	s.caller.close()
	if how == uint32(wire.Exited) {
		m.tellStub(s, stubExited, code, "")
	} else {
		m.tellStub(s, stubKilled, code, "")
	}
}

// stubFails tells a stub that its program never ran, with the exit status of a
// shell for it.
func (m *Monitor) stubFails(s *stub, errno syscall.Errno, why string) {
	s.caller.close()
	status := uint32(126)
	if errno == unix.ENOENT {
		status = 127
	}
	m.tellStub(s, stubFailed, status, s.path+": "+why)
}

// stopped is called when the program of an exec was stopped, or goes on.
func (m *Monitor) stopped(w *work, status unix.WaitStatus) {
	switch s := w.stub; {
	case s == nil:
	case s.echo:
		// What watchStubs did. The stub may go on by now, and must not be
		// stopped for it: nobody would wake it again.
		s.echo = false
	case s.held: // with the stub
	case status.Stopped():
		s.stopped = true
		m.tellStub(s, stubStopped, uint32(status.StopSignal()), "")
	case status.Continued() && s.stopped:
		// Whoever let the program go on did not ask the stub.
		s.stopped = false
		s.caller.signal(unix.SIGCONT)
	}
}

// stopInterval is how often the monitor looks whether a stub was stopped. It
// cannot tell: SIGSTOP reaches no handler, and the kernel tells the parent only.
const stopInterval = 500 * time.Millisecond

// watchStubs stops programs whose stub was stopped by SIGSTOP. What wakes the
// stub is passed on by it.
func (m *Monitor) watchStubs() {
	if m.watching != nil {
		return
	}
	m.watching = m.loop.after(stopInterval, func() {
		m.watching = nil
		live := false
		for _, w := range m.workers {
			s := w.stub
			if s == nil || w.ended || w.program < 0 {
				continue
			}
			live = true
			if !s.stopped && !s.held && s.caller.stopped() {
				s.held, s.echo = true, true
				unix.PidfdSendSignal(w.program, unix.SIGSTOP, nil, 0)
			}
		}
		if live {
			m.watchStubs()
		}
	})
}
