package client

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"bulkhead/broker/wire"
)

// request sends a request and waits for its reply; a refusal is an error.
func (b *Broker) request(c *call, verb, object string, body func(*wire.Message), files ...*os.File) (reply, error) {
	fail := func(err error) (reply, error) {
		return reply{}, &fs.PathError{Op: verb, Path: object, Err: err}
	}
	if len(files) > wire.MaximumFDs {
		return fail(syscall.EMSGSIZE)
	}
	c.reply = make(chan reply, 1)
	id, err := b.enter(c)
	if err != nil {
		return reply{}, err
	}
	if err := b.send(wire.Header{Kind: wire.Request, Op: c.op, ID: id, FDs: len(files)}, body, files); err != nil {
		// The packet did not leave: nothing will answer it.
		b.mu.Lock()
		delete(b.calls, id)
		b.mu.Unlock()
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			return reply{}, b.end(ErrGone)
		}
		return fail(err)
	}
	r := <-c.reply
	if r.err != nil {
		return reply{}, r.err
	}
	if r.errno != 0 {
		return fail(r.errno)
	}
	return r, nil
}

// enter finds a free id for c. Zero is not one: it is the id of events that
// belong to no request.
func (b *Broker) enter(c *call) (uint32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	for {
		b.last++
		if _, used := b.calls[b.last]; !used && b.last != 0 {
			b.calls[b.last] = c
			return b.last, nil
		}
	}
}

func (b *Broker) send(h wire.Header, body func(*wire.Message), files []*os.File) error {
	var m wire.Message
	m.Begin(h)
	if body != nil {
		body(&m)
	}
	packet, err := m.Bytes()
	if err != nil {
		return err
	}
	fds := make([]int, len(files))
	return borrow(files, fds, 0, func() error {
		var rights []byte
		if len(fds) > 0 {
			rights = syscall.UnixRights(fds...)
		}
		_, _, err := b.conn.WriteMsgUnix(packet, rights, nil)
		return err
	})
}

// borrow holds the numbers of all files, which nobody can close meanwhile,
// while do runs. File.Fd would do it too, but makes files blocking.
func borrow(files []*os.File, fds []int, i int, do func() error) error {
	if i == len(files) {
		return do()
	}
	raw, err := files[i].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) {
		fds[i] = int(fd)
		inner = borrow(files, fds, i+1, do)
	}); err != nil {
		return fs.ErrClosed // the only way in which Control itself fails
	}
	return inner
}

// read gives every message to the call that it belongs to, until the
// connection ends.
func (b *Broker) read() {
	// One byte and one descriptor more than allowed, so that what is too
	// large is seen and not cut to what is right.
	packet := make([]byte, wire.MaximumSize+1)
	control := make([]byte, syscall.CmsgSpace(4*(wire.MaximumFDs+1)))
	for {
		n, c, flags, _, err := b.conn.ReadMsgUnix(packet, control) // sets MSG_CMSG_CLOEXEC
		files := received(control[:c])
		if err != nil {
			closeAll(files)
			b.end(ErrGone)
			return
		}
		if flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 || !b.deliver(packet[:n], files) {
			closeAll(files)
			b.end(ErrProtocol)
			return
		}
	}
}

// deliver says whether the packet was an answer to a request.
func (b *Broker) deliver(packet []byte, files []*os.File) bool {
	h, body, err := wire.Parse(packet, len(files))
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls[h.ID]
	if c == nil || c.op != h.Op {
		return false
	}
	switch {
	case h.Kind == wire.Reply && !c.replied:
		rest := append([]byte(nil), packet[wire.HeaderSize:]...)
		if h.Status != 0 && (len(rest) != 0 || len(files) != 0) {
			return false
		}
		if c.worker == nil || h.Status != 0 {
			delete(b.calls, h.ID)
		} else {
			// Read here and not by Start, so that it is known when the
			// event comes, which may be the next message.
			c.worker.Number = body.U32()
			if body.End() != nil || len(files) != 0 {
				return false
			}
		}
		c.replied = true
		c.reply <- reply{errno: syscall.Errno(h.Status), body: rest, files: files}
		return true
	case h.Kind == wire.Event && c.replied && len(files) == 0:
		r := Result{How: How(body.U32()), Code: int(body.U32()), Reason: body.String()}
		if body.End() != nil || r.How < Exited || r.How > NotRun {
			return false
		}
		delete(b.calls, h.ID)
		c.worker.end(r, nil)
		return true
	}
	return false
}

// end ends the connection for everybody, once, and returns why it ended.
func (b *Broker) end(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.err = err
	b.conn.Close()
	for _, c := range b.calls {
		if !c.replied {
			c.reply <- reply{err: err}
		}
		if c.worker != nil {
			c.worker.end(Result{}, err)
		}
	}
	clear(b.calls)
	return err
}

func received(control []byte) []*os.File {
	var files []*os.File
	messages, _ := syscall.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, _ := syscall.ParseUnixRights(&m)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "granted"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
