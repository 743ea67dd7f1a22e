package supervisor

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// monitor is what the life cycle needs of the other half of the broker. A
// request never blocks: its reply comes as an event of type reply.
type monitor interface {
	request(op wire.Op, fields ...uint32) (id uint32)
}

// link is the socket to the monitor. Requests go through a queue without a
// bound of its own: the life cycle has at most a few in flight for each
// component, and a supervisor that waited for the monitor to read, while the
// monitor waits for it to read, would wait for ever.
type link struct {
	file       *os.File
	raw        syscall.RawConn
	components int // this and the next two are receive's own
	packet     [wire.MaximumSize + 1]byte
	control    []byte

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []queuedRequest
	next   uint32
	closed bool
}

type queuedRequest struct {
	op     wire.Op
	id     uint32
	fields []uint32
}

func newLink(fd, components int) (*link, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("use the monitor's socket: %w", err)
	}
	l := &link{file: os.NewFile(uintptr(fd), "monitor"), components: components, control: make([]byte, unix.CmsgSpace(4*wire.MaximumFDs))}
	l.wake = sync.NewCond(&l.mu)
	var err error
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("use the monitor's socket: %w", err)
	}
	return l, nil
}

func (l *link) request(op wire.Op, fields ...uint32) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	if l.next == 0 {
		l.next = 1 // 0 is no id
	}
	l.queue = append(l.queue, queuedRequest{op, l.next, fields})
	l.wake.Signal()
	return l.next
}

// send writes what request queued, until close.
func (l *link) send() error {
	var m wire.Message
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.wake.Wait()
		}
		if l.closed {
			l.mu.Unlock()
			return nil
		}
		batch := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, r := range batch {
			m.Begin(wire.Header{Kind: wire.Request, Op: r.op, ID: r.id})
			for _, f := range r.fields {
				m.U32(f)
			}
			b, err := m.Bytes()
			if err != nil {
				return err
			}
			switch err := l.write(b); err {
			case nil:
			case unix.EPIPE, unix.ECONNRESET:
				return nil // the monitor is gone, as whoever receives hears
			default:
				return fmt.Errorf("write to the monitor: %w", err)
			}
		}
	}
}

func (l *link) write(b []byte) error {
	var err error
	done := l.raw.Write(func(fd uintptr) bool {
		err = wire.Retry(func() error { return unix.Send(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) })
		return err != unix.EAGAIN
	})
	if done != nil {
		return done
	}
	return err
}

// begin waits until the monitor has taken over all compartments. io.EOF says that
// the application does not start after all; whoever knows why says so.
func (l *link) begin() error {
	m, err := l.message()
	if err != nil {
		return err
	}
	if _, ok := m.(begin); !ok {
		return fmt.Errorf("wait for the compartments: the monitor says %T first", m)
	}
	return nil
}

// receive hands every message of the monitor to post, until the monitor is
// gone or says something malformed.
func (l *link) receive(post func(any)) error {
	for {
		m, err := l.message()
		if err != nil {
			return err
		}
		// What comes behind it has the new plan's numbers.
		if e, ok := m.(reloaded); ok && e.components > 0 {
			l.components = int(e.components)
		}
		post(m)
	}
}

// message waits for a message of the monitor.
func (l *link) message() (any, error) {
	var n, cn, flags int
	var err error
	done := l.raw.Read(func(fd uintptr) bool {
		err = wire.Retry(func() (err error) {
			n, cn, flags, _, err = unix.Recvmsg(int(fd), l.packet[:], l.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			return err
		})
		return err != unix.EAGAIN
	})
	if done != nil {
		return nil, done
	}
	if err == unix.ECONNRESET || err == nil && n == 0 && cn == 0 {
		return nil, io.EOF // reset: with requests of ours unread
	}
	if err != nil {
		return nil, err
	}
	fds, err := wire.Rights(l.control[:cn])
	if err != nil {
		return nil, fmt.Errorf("read the descriptors from the monitor: %w", err)
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, wire.ErrTooLarge
	}
	return decode(l.packet[:n], fds, l.components)
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.wake.Signal()
	l.mu.Unlock()
	l.file.Close()
}
