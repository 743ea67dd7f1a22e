package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Client is a connection to a control socket. It asks one thing at a time.
// It does without package net, which the supervisor would pay for too.
type Client struct {
	file *os.File
	in   *bufio.Reader
}

// Dial connects to the control socket at path. A path that is too long for a
// socket address (108 bytes, unix(7)) goes by way of /proc/self/fd.
func Dial(path string) (*Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	address := path
	if len(path) > 107 {
		place, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("open the control socket %s: %w", path, err)
		}
		defer unix.Close(place)
		address = fmt.Sprintf("/proc/self/fd/%d", place)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to the control socket %s: %w", path, err)
	}
	return NewClient(fd), nil
}

// NewClient makes a Client of a connected socket, which it owns from then on.
func NewClient(fd int) *Client {
	unix.SetNonblock(fd, true) // so that the runtime's poller and deadlines work
	file := os.NewFile(uintptr(fd), "control socket")
	return &Client{file: file, in: bufio.NewReaderSize(file, 64<<10)}
}

// Close ends the connection, also under a call of Do in another goroutine.
func (c *Client) Close() error { return c.file.Close() }

// SetDeadline makes Do fail at a time; the zero time is never.
func (c *Client) SetDeadline(at time.Time) error { return c.file.SetDeadline(at) }

// ErrClosed says that the connection ended before the answer.
var ErrClosed = errors.New("the supervisor closed the control socket")

// Refused is the supervisor's answer to a request that it does not carry out.
type Refused string

func (r Refused) Error() string { return string(r) }

// Do asks and waits for the last reply. each, which may be nil, is called for
// every reply before it; an error of its own ends Do, and the connection is
// then of no more use.
func (c *Client) Do(r Request, each func(Reply) error) (Reply, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return Reply{}, fmt.Errorf("encode the request: %w", err)
	}
	if len(b)+1 > MaximumRequest {
		return Reply{}, fmt.Errorf("the request is longer than %d bytes", MaximumRequest)
	}
	if _, err := c.file.Write(append(b, '\n')); err != nil {
		// A supervisor that hangs up at once has said why.
		if reply, unread := c.reply(); unread == nil && reply.Error != "" {
			return Reply{}, Refused(reply.Error)
		}
		return Reply{}, fmt.Errorf("ask the supervisor: %w", err)
	}
	for {
		reply, err := c.reply()
		switch {
		case err != nil:
			return Reply{}, err
		case reply.Error != "":
			return Reply{}, Refused(reply.Error)
		case reply.Done:
			return reply, nil
		case each != nil:
			if err := each(reply); err != nil {
				return Reply{}, err
			}
		}
	}
}

func (c *Client) reply() (Reply, error) {
	var line []byte
	for {
		part, err := c.in.ReadSlice('\n')
		if len(line)+len(part) > MaximumReply {
			return Reply{}, errors.New("the supervisor's reply is too long")
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if err == io.EOF {
			return Reply{}, ErrClosed
		}
		if err != bufio.ErrBufferFull {
			return Reply{}, fmt.Errorf("read the supervisor's reply: %w", err)
		}
	}
	var reply Reply
	if err := json.Unmarshal(line, &reply); err != nil {
		return Reply{}, fmt.Errorf("the supervisor's reply is not understood: %w", err)
	}
	return reply, nil
}
