package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// Descriptors that the builder finds at fixed numbers. The launcher's builder is
// there before all but the first, and gets the others with its order.
const (
	BuilderFD        = 3 // SOCK_SEQPACKET: one order comes, what was built goes
	BuilderPlanFD    = 4 // the encoded plan
	BuilderSweeperFD = 5 // its copy of the sweeper's pipe: what it makes is swept when it has ended
	BuilderPresentFD = 6 // the plan that the application has now
)

// Order is what a builder is to build, by the plan's numbers.
type Order struct {
	First      *First // every component, whose numbers would not fit into one packet, and no grant
	Components []int
	Grants     []int // to listen for
}

// First is what the launcher tells its builder, which is started before any of it
// is known.
type First struct {
	Supervisor int    // the component that is the broker's own supervisor
	Directory  string // the application's
	Group      string // the application's cgroup
	Plan       int    // descriptor of the encoded plan
	Sweeper    int    // descriptor of the sweeper's pipe
}

// Send gives a builder its order.
func (o Order) Send(socket int) error {
	var m wire.Message
	if f := o.First; f != nil {
		m.Begin(wire.Header{Kind: wire.Request, Op: wire.BuildAll, ID: 1, FDs: 2})
		m.U32(uint32(f.Supervisor)).String(f.Directory).String(f.Group)
		return sendBuilt(socket, &m, f.Plan, f.Sweeper)
	}
	m.Begin(wire.Header{Kind: wire.Request, Op: wire.Build, ID: 1})
	for _, list := range [][]int{o.Components, o.Grants} {
		m.U32(uint32(len(list)))
		for _, n := range list {
			m.U32(uint32(n))
		}
	}
	return sendBuilt(socket, &m)
}

// ReceiveOrder waits for the one order of a builder. io.EOF says that there will
// be none.
func ReceiveOrder(socket int) (Order, error) {
	var o Order
	var b [wire.MaximumSize + 1]byte
	n, fds, err := receive(socket, b[:])
	if err != nil {
		return o, err
	}
	if n == 0 {
		return o, io.EOF
	}
	h, body, err := wire.Parse(b[:n], len(fds))
	if err != nil {
		return o, err
	}
	switch {
	case h.Kind == wire.Request && h.Op == wire.BuildAll && len(fds) == 2:
		o.First = &First{Supervisor: int(body.U32()), Directory: body.String(), Group: body.String(), Plan: fds[0], Sweeper: fds[1]}
		return o, body.End()
	case h.Kind != wire.Request || h.Op != wire.Build || len(fds) > 0:
		return o, wire.ErrHeader
	}
	for _, list := range []*[]int{&o.Components, &o.Grants} {
		for range body.U32() {
			*list = append(*list, int(body.U32()))
			if len(*list) > wire.MaximumSize {
				return o, wire.ErrShort
			}
		}
	}
	return o, body.End()
}

// Built is what a builder has built and hands over. Who has it closes it.
type Built struct {
	Compartments []Compartment
	Listeners    []Listener
}

// Close gives up what was built.
func (b *Built) Close() {
	for _, c := range b.Compartments {
		unix.Close(c.Control) // which ends the init
		unix.Close(c.Pidfd)
	}
	for _, l := range b.Listeners {
		unix.Close(l.FD)
	}
}

// Send hands over a compartment, which is there before others are.
func (c Compartment) Send(socket int) error {
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Event, Op: wire.Built, FDs: 2}).U32(uint32(c.Component)).U32(uint32(c.Pid))
	return sendBuilt(socket, &m, c.Control, c.Pidfd) // who waited may be gone: what has come there is closed there
}

// Finish hands over what else was built, and says that this is all.
func (b *Built) Finish(socket int) error {
	var m wire.Message
	for _, l := range b.Listeners {
		m.Begin(wire.Header{Kind: wire.Event, Op: wire.Bound, FDs: 1}).U32(uint32(l.Grant))
		if err := sendBuilt(socket, &m, l.FD); err != nil {
			return err
		}
	}
	return sendBuilt(socket, m.Begin(wire.Header{Kind: wire.Reply, Op: wire.BuildOver}))
}

// SendFailure says why nothing was built: what was handed over is undone.
func SendFailure(socket int, failure error) error {
	text := failure.Error()
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Reply, Op: wire.BuildOver, Status: uint32(unix.EIO)}).String(text[:min(len(text), wire.MaximumText)])
	return sendBuilt(socket, &m)
}

// sendBuilt sends one packet between a builder and whoever ordered something.
func sendBuilt(socket int, m *wire.Message, fds ...int) error {
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", wire.Send(socket, b, fds, 0))
}

// receive takes a packet with its descriptors; one of no bytes is the end.
func receive(socket int, packet []byte) (n int, fds []int, err error) {
	control := make([]byte, unix.CmsgSpace(4*wire.MaximumFDs))
	var cn int
	err = wire.Retry(func() (err error) {
		n, cn, _, _, err = unix.Recvmsg(socket, packet, control, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err != nil {
		return 0, nil, os.NewSyscallError("recvmsg", err)
	}
	fds, err = wire.Rights(control[:cn])
	return n, fds, err
}

// ErrBuilder says that a builder ended, or said nothing for too long.
var ErrBuilder = errors.New("the builder ended before it was done; its message stands in the broker's own output")

// BuildError is why a builder made nothing, in its own words.
type BuildError struct {
	Why   string
	Errno syscall.Errno
}

func (e *BuildError) Error() string { return e.Why }
func (e *BuildError) Unwrap() error { return e.Errno }

// Receive takes what a builder made, so many pieces, until it says that it is
// done. What came before a failure is in b too. each gets the compartments as they
// come, and may end it; nil: nobody waits for them.
func (b *Built) Receive(socket, pieces int, each func(Compartment) error) error {
	for {
		compartments := len(b.Compartments)
		over, err := b.next(socket)
		switch n := len(b.Compartments) + len(b.Listeners); {
		case err != nil:
			return err
		case over && n == pieces:
			return nil
		case over || n > pieces:
			return errNotBuilt
		case each != nil && len(b.Compartments) > compartments:
			if err := each(b.Compartments[compartments]); err != nil {
				return err
			}
		}
	}
}

// errNotBuilt says that a builder did not make what was ordered, or says what
// none ever says.
var errNotBuilt = fmt.Errorf("read what the builder made: %w", unix.EPROTO)

// next takes one piece of what a builder made into b, at its end, or hears that
// this is over.
func (b *Built) next(socket int) (over bool, err error) {
	var packet [wire.MaximumSize + 1]byte
	n, fds, err := receive(socket, packet[:])
	var failed *os.SyscallError
	if errors.As(err, &failed) || err == nil && n == 0 {
		return false, fmt.Errorf("%w: %w", ErrBuilder, unix.EIO)
	}
	if err != nil {
		return false, fmt.Errorf("read what the builder made: %w", err)
	}
	h, body, err := wire.Parse(packet[:n], len(fds))
	switch {
	case err != nil:
	case h.Op == wire.Built && len(fds) == 2:
		c := Compartment{Component: int(body.U32()), Pid: int(body.U32()), Control: fds[0], Pidfd: fds[1]}
		if body.End() == nil {
			b.Compartments = append(b.Compartments, c)
			return false, nil
		}
	case h.Op == wire.Bound && len(fds) == 1:
		l := Listener{Grant: int(body.U32()), FD: fds[0]}
		if body.End() == nil {
			b.Listeners = append(b.Listeners, l)
			return false, nil
		}
	case h.Op == wire.BuildOver && len(fds) == 0 && h.Status != 0:
		return false, &BuildError{body.String(), syscall.Errno(h.Status)}
	case h.Op == wire.BuildOver && len(fds) == 0:
		return true, nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return false, errNotBuilt
}
