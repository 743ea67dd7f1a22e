package monitor

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// buildPatience is how long a compartment may take to be built.
const buildPatience = 30 * time.Second

// commandRebuild builds the compartment of a component again after its init
// died. The builder is the launcher's program, and the keeper starts it:
// libcontainer has no place in this process, nor has exec. It hands over the
// init's socket and pidfd and ends; the init, its child, becomes the monitor's
// (PR_SET_CHILD_SUBREAPER).
func (m *Monitor) commandRebuild(h wire.Header, b *wire.Body) (uint32, error) {
	index := b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	if int(index) >= len(m.components) || int(index) == m.handover.Supervisor {
		return 0, unix.EINVAL
	}
	c := m.components[index]
	if c.control >= 0 {
		return 0, nil // it is there: the news of it and the request have crossed
	}
	// One builder, however often it is asked for; all are answered.
	if len(c.builds) > 0 {
		c.builds = append(c.builds, h)
		return 0, errLater
	}
	err := m.build(int(index), func(made handover.Compartment, err error) {
		asked := c.builds
		c.builds = nil
		if err == nil {
			err = m.rebuilt(c, made)
		}
		for _, h := range asked {
			m.replySupervisor(h, 0, err)
		}
	})
	if err != nil {
		return 0, err
	}
	c.builds = append(c.builds, h)
	return 0, errLater
}

func (m *Monitor) rebuilt(c *component, made handover.Compartment) error {
	if err := m.adopt(made); err != nil {
		unix.Close(made.Control) // which ends the init
		unix.Close(made.Pidfd)
		return fmt.Errorf("take over the compartment: %w", err)
	}
	if err := m.makeNotify(c); err != nil {
		return err
	}
	m.tendDoors(c)
	return nil
}

// build has the keeper run the builder; then gets what that made.
func (m *Monitor) build(index int, then func(handover.Compartment, error)) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the builder's socket: %w", err)
	}
	defer unix.Close(pair[1])
	// The builder makes cgroups: with a copy of its pipe the sweeper waits for
	// the builder's end too, whatever becomes of this process. At a moment
	// without a sweeper there is none.
	err = send(pair[0], binary.LittleEndian.AppendUint32(nil, uint32(index)), nil)
	if err == nil {
		err = m.order(handover.OrderBuild, func(builder child, err error) {
			if err != nil {
				unix.Close(pair[0])
				then(handover.Compartment{}, fmt.Errorf("start the builder: %w", err))
				return
			}
			go func() {
				made, err := receiveBuilt(pair[0], builder)
				m.loop.post(func() {
					made.Component = index
					then(made, err)
				})
			}()
		}, pair[1], m.handover.Sweeper)
	}
	if err != nil {
		unix.Close(pair[0])
	}
	return err
}

// receiveBuilt waits for what a builder made, and for its end.
func receiveBuilt(socket int, builder child) (handover.Compartment, error) {
	made := handover.Compartment{Control: -1, Pidfd: -1}
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
	var b [8]byte
	control := make([]byte, unix.CmsgSpace(2*4))
	n, cn, _, _, err := unix.Recvmsg(socket, b[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 8 {
		unix.PidfdSendSignal(builder.pidfd, unix.SIGKILL, nil, 0)
		return made, fmt.Errorf("wait for the builder: it made nothing; its message stands above: %w", unix.EIO)
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) != 1 {
		return made, fmt.Errorf("read what the builder made: %w", unix.EPROTO)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		closeAll(fds)
		return made, fmt.Errorf("read what the builder made: %w", unix.EPROTO)
	}
	made.Pid = int(binary.LittleEndian.Uint64(b[:]))
	made.Control, made.Pidfd = fds[0], fds[1]
	return made, nil
}
