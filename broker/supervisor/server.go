package supervisor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

// The bounds of a control socket. They are each socket's own: those who may
// only read cannot keep out those who control.
const (
	clientsMaximum = 32
	idleLimit      = time.Minute     // for the next request
	writeLimit     = 5 * time.Second // for a client to take what it asked for
)

// server answers the clients of one listening socket.
type server struct {
	file    *os.File
	raw     syscall.RawConn
	control bool // every verb, not only those that read
	metrics bool // it speaks HTTP and answers with metrics
	post    func(any)
	over    <-chan struct{}

	mu      sync.Mutex
	clients int
}

func newServer(fd int, control bool, s *Supervisor) (*server, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("use the control socket: %w", err)
	}
	v := &server{file: os.NewFile(uintptr(fd), "control"), control: control, post: s.post, over: s.over}
	var err error
	if v.raw, err = v.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("use the control socket: %w", err)
	}
	return v, nil
}

// serve accepts clients until the socket is closed.
func (v *server) serve() {
	for {
		var fd int
		var err error
		if v.raw.Read(func(listener uintptr) bool {
			fd, _, err = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		}) != nil {
			return
		}
		switch err {
		case nil:
			v.admit(&client{server: v, file: os.NewFile(uintptr(fd), "client")})
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			time.Sleep(100 * time.Millisecond) // the connection stays in the queue
		}
	}
}

func (v *server) admit(c *client) {
	v.mu.Lock()
	full := v.clients >= clientsMaximum
	if !full {
		v.clients++
	}
	v.mu.Unlock()
	if full {
		if !v.metrics {
			c.write(control.Reply{Error: "too many clients are connected; try again"})
		}
		c.file.Close()
		return
	}
	go func() {
		c.in = bufio.NewReaderSize(c.file, control.MaximumRequest)
		if v.metrics {
			c.serveMetrics()
		} else {
			c.serve()
		}
		c.file.Close()
		v.mu.Lock()
		v.clients--
		v.mu.Unlock()
	}()
}

// client is one connection.
type client struct {
	server *server
	file   *os.File
	in     *bufio.Reader
}

// serve answers requests until the client leaves or misbehaves.
func (c *client) serve() {
	for {
		c.file.SetReadDeadline(time.Now().Add(idleLimit))
		line, err := c.in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			c.write(control.Reply{Error: fmt.Sprintf("the request is longer than %d bytes", control.MaximumRequest)})
			return
		}
		if err != nil {
			return
		}
		r, err := control.ParseRequest(line)
		if err != nil {
			// A client that does not speak the protocol is not given the
			// benefit of a second line.
			c.write(control.Reply{Error: err.Error()})
			return
		}
		if !c.server.control && !control.Verbs[r.Verb].Reads {
			if !c.write(control.Reply{Error: fmt.Sprintf("%s is not permitted on the status socket", r.Verb)}) {
				return
			}
			continue
		}
		a := ask{request: r, answer: make(chan answer, 1)}
		c.server.post(a)
		select {
		case given := <-a.answer:
			if !c.give(given) {
				return
			}
		case <-c.server.over:
			c.write(control.Reply{Error: "the application has ended"})
			return
		}
	}
}

// give writes an answer; false ends the connection.
func (c *client) give(a answer) bool {
	if a.feed != nil {
		defer a.feeds.leave(a.feed)
	}
	for _, r := range a.before {
		if !c.write(r) {
			return false
		}
	}
	switch {
	case a.feed != nil:
		c.stream(a.feed)
		return false
	case a.waiter != nil:
		left, done := c.watch()
		defer done()
		select {
		case r := <-a.waiter.reply:
			return c.write(r)
		case <-left:
			c.server.post(forget{a.waiter})
		case <-c.server.over:
			// The end of the application may be what it waits for.
			select {
			case r := <-a.waiter.reply:
				c.write(r)
			default:
				c.write(control.Reply{Error: "the application has ended"})
			}
		}
		return false
	}
	return c.write(a.reply)
}

// stream passes on what a feed tells until the client leaves or is too slow.
func (c *client) stream(f *feed) {
	left, done := c.watch()
	defer done()
	for {
		select {
		case r, more := <-f.replies:
			if !more {
				c.write(control.Reply{Error: fmt.Sprintf("too slow: more than %d were waiting to be read", feedLength)})
				return
			}
			if !c.write(r) {
				return
			}
		case <-left:
			return
		case <-c.server.over:
			c.write(control.Reply{Done: true})
			return
		}
	}
}

// watch tells when the client has hung up. done ends the watch, so that the
// next request can be read.
func (c *client) watch() (left <-chan struct{}, done func()) {
	gone, ended := make(chan struct{}), make(chan struct{})
	c.file.SetReadDeadline(time.Time{})
	go func() {
		defer close(ended)
		if _, err := c.in.Peek(1); err != nil && !os.IsTimeout(err) {
			close(gone)
		}
	}()
	return gone, func() {
		c.file.SetReadDeadline(time.Unix(1, 0))
		<-ended
	}
}

// write sends one line, whole or not at all as far as the client can tell.
func (c *client) write(r control.Reply) bool {
	b, err := json.Marshal(r)
	if err != nil {
		return false
	}
	c.file.SetWriteDeadline(time.Now().Add(writeLimit))
	_, err = c.file.Write(append(b, '\n'))
	return err == nil
}
