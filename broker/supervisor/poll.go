package supervisor

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for many descriptors with one goroutine, so that one at which
// nothing happens costs no stack. It is there as long as it has something to
// wait for.
type poller struct {
	mu      sync.Mutex
	file    *os.File // of epoll, nil: nothing is watched
	epoll   int
	watched map[int32]*watched
	serial  int32
}

// watched is a descriptor that a poller waits for: for one event, and for the
// next when it is told to.
type watched struct {
	fd int
	// ready is called when fd can be read or has come to its end. All others
	// wait until it returns.
	ready  func()
	serial int32 // of all that ever were: a descriptor's number is soon another's
}

// add begins to wait for a descriptor.
func (p *poller) add(w *watched) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		if err := p.open(); err != nil {
			return fmt.Errorf("wait for pipes: %w", err)
		}
	}
	p.serial++
	w.serial = p.serial
	p.watched[w.serial] = w
	if err := p.control(unix.EPOLL_CTL_ADD, w); err != nil {
		p.forget(w)
		return fmt.Errorf("wait for a pipe: %w", err)
	}
	return nil
}

// again waits for the next event.
func (p *poller) again(w *watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.control(unix.EPOLL_CTL_MOD, w) // it takes no memory, and cannot fail
}

// remove forgets a descriptor, which stays open.
func (p *poller) remove(w *watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Explicitly: the monitor's copy of the descriptor would keep it watched
	// after the close.
	p.control(unix.EPOLL_CTL_DEL, w)
	p.forget(w)
}

func (p *poller) control(operation int, w *watched) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: w.serial}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, operation, w.fd, &event))
}

func (p *poller) forget(w *watched) {
	if delete(p.watched, w.serial); len(p.watched) == 0 {
		p.file.Close() // which ends run
		p.file = nil
	}
}

func (p *poller) open() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// Go waits for it among its own descriptors, so that no thread does.
	unix.SetNonblock(epoll, true)
	file := os.NewFile(uintptr(epoll), "epoll")
	err = file.SetDeadline(time.Time{})
	var raw syscall.RawConn
	if err == nil {
		raw, err = file.SyscallConn()
	}
	if err != nil {
		file.Close()
		return err
	}
	p.file, p.epoll, p.watched = file, epoll, map[int32]*watched{}
	go p.run(raw)
	return nil
}

// run waits until the last descriptor is forgotten.
func (p *poller) run(epoll syscall.RawConn) {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		if epoll.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		}) != nil {
			return
		}
		for _, e := range events[:n] {
			if w := p.of(e.Fd); w != nil {
				w.ready()
			}
		}
	}
}

// of is what a serial number stands for, nil when it was forgotten.
func (p *poller) of(serial int32) *watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watched[serial]
}
