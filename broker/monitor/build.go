package monitor

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// buildPatience is how long the builder may say nothing.
const buildPatience = 30 * time.Second

// built is what a builder handed over. Who has it closes it.
type built struct {
	compartments []handover.Compartment
	listeners    []handover.Listener
}

func (b *built) close() {
	for _, c := range b.compartments {
		unix.Close(c.Control) // which ends the init
		unix.Close(c.Pidfd)
	}
	for _, l := range b.listeners {
		unix.Close(l.FD)
	}
}

// build has the keeper run the builder, out of the plan that is or the one that
// comes; then gets what that made. libcontainer has no place in this process,
// nor has exec. The inits, the builder's children, become the monitor's when it
// ends (PR_SET_CHILD_SUBREAPER).
func (m *Monitor) build(what uint32, components, grants []int, then func(*built, error)) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the builder's socket: %w", err)
	}
	defer unix.Close(pair[1])
	if m.handover.Sweeper < 0 {
		m.replaceSweeper()
	}
	m.rememberMounts() // the builder makes this process's root anew, too
	// The builder makes cgroups: with a copy of its pipe the sweeper waits for
	// the builder's end too, whatever becomes of this process. At a moment
	// without a sweeper there is none.
	err = sayWhat(pair[0], components, grants)
	if err == nil {
		err = m.order(what, func(builder child, err error) {
			if err != nil {
				unix.Close(pair[0])
				then(nil, fmt.Errorf("start the builder: %w", err))
				return
			}
			go func() {
				made, err := receiveBuilt(pair[0], builder, len(components)+len(grants))
				m.loop.post(func() { then(made, err) })
			}()
		}, pair[1], m.handover.Sweeper)
	}
	if err != nil {
		unix.Close(pair[0])
	}
	return err
}

// receiveBuilt waits for what a builder made, and for its end.
func receiveBuilt(socket int, builder child, most int) (*built, error) {
	defer func() {
		unix.Close(socket)
		unix.Close(builder.pidfd)
		for {
			if _, err := unix.Wait4(builder.pid, nil, 0, nil); err != unix.EINTR {
				return
			}
		}
	}()
	timeout := unix.NsecToTimeval(buildPatience.Nanoseconds())
	unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	made := &built{}
	if err := made.receive(socket, most); err != nil {
		unix.PidfdSendSignal(builder.pidfd, unix.SIGKILL, nil, 0)
		made.close()
		return nil, err
	}
	return made, nil
}

// sayWhat tells a builder what to build.
func sayWhat(socket int, components, grants []int) error {
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: wire.Build, ID: 1})
	for _, list := range [][]int{components, grants} {
		m.U32(uint32(len(list)))
		for _, n := range list {
			m.U32(uint32(n))
		}
	}
	b, err := m.Bytes()
	if err != nil {
		return err
	}
	return send(socket, b, nil)
}

var errBuilder = errors.New("the builder ended before it was done; its message stands in the broker's own output")

// buildError is why the builder made nothing, in its own words.
type buildError struct {
	why   string
	errno syscall.Errno
}

func (e *buildError) Error() string { return e.why }
func (e *buildError) Unwrap() error { return e.errno }

// receive takes what the builder made until it says that it is done.
func (made *built) receive(socket, most int) error {
	var packet [wire.MaximumSize + 1]byte
	control := make([]byte, unix.CmsgSpace(4*wire.MaximumFDs))
	for range most + 1 {
		n, cn, _, _, err := unix.Recvmsg(socket, packet[:], control, unix.MSG_CMSG_CLOEXEC)
		if err != nil || n == 0 {
			return fmt.Errorf("%w: %w", errBuilder, unix.EIO)
		}
		fds, err := rights(control[:cn])
		if err != nil {
			return fmt.Errorf("read what the builder made: %w", err)
		}
		h, b, err := wire.Parse(packet[:n], len(fds))
		switch {
		case err != nil:
		case h.Op == wire.Built && len(fds) == 2:
			c := handover.Compartment{Component: int(b.U32()), Pid: int(b.U32()), Control: fds[0], Pidfd: fds[1]}
			if err = b.End(); err == nil {
				made.compartments = append(made.compartments, c)
				continue
			}
		case h.Op == wire.Bound && len(fds) == 1:
			l := handover.Listener{Grant: int(b.U32()), FD: fds[0]}
			if err = b.End(); err == nil {
				made.listeners = append(made.listeners, l)
				continue
			}
		case h.Op == wire.BuildOver && len(fds) == 0 && h.Status != 0:
			return &buildError{b.String(), syscall.Errno(h.Status)}
		case h.Op == wire.BuildOver && len(fds) == 0 && len(made.compartments)+len(made.listeners) == most:
			return nil
		}
		closeAll(fds)
		return fmt.Errorf("read what the builder made: %w", unix.EPROTO)
	}
	return fmt.Errorf("read what the builder made: %w", unix.EPROTO)
}
