package monitor

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// buildPatience is how long a compartment may take to be built.
const buildPatience = 30 * time.Second

// commandRebuild builds the compartment of a component again after its init
// died. The builder is the launcher's program: libcontainer has no place in
// this process. It hands over the init's socket and pidfd and ends; the init,
// its child, becomes the monitor's (PR_SET_CHILD_SUBREAPER).
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
	// The builder makes cgroups: the sweeper waits for its end too, whatever
	// becomes of this process.
	sweeper, err := unix.FcntlInt(uintptr(m.handover.Sweeper), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, err // there is none at this moment
	}
	c.builds = append(c.builds, h)
	go func() {
		made, err := m.build(int(index), os.NewFile(uintptr(sweeper), "sweeper"))
		m.loop.post(func() {
			asked := c.builds
			c.builds = nil
			if err == nil {
				err = m.rebuilt(c, made)
			}
			for _, h := range asked {
				m.replySupervisor(h, 0, err)
			}
		})
	}()
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

// build runs the builder and receives what it made.
func (m *Monitor) build(index int, sweeper *os.File) (handover.Compartment, error) {
	defer sweeper.Close()
	made := handover.Compartment{Component: index, Control: -1, Pidfd: -1}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return made, fmt.Errorf("make the builder's socket: %w", err)
	}
	defer unix.Close(pair[0])
	far := os.NewFile(uintptr(pair[1]), "builder")
	planCopy, err := unix.FcntlInt(handover.PlanFD, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		far.Close()
		return made, fmt.Errorf("share the plan with the builder: %w", err)
	}
	planFile := os.NewFile(uintptr(planCopy), "plan")
	process, err := os.StartProcess(m.handover.Builder,
		[]string{m.handover.Builder, handover.BuildCommand, strconv.Itoa(index), m.handover.Directory, m.handover.Group, filepath.Dir(m.handover.Init)},
		&os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, far, planFile, sweeper}})
	far.Close()
	planFile.Close()
	if err != nil {
		return made, fmt.Errorf("start the builder %s: %w", m.handover.Builder, err)
	}
	defer process.Wait()
	timeout := unix.NsecToTimeval(buildPatience.Nanoseconds())
	unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	var b [8]byte
	control := make([]byte, unix.CmsgSpace(2*4))
	n, cn, _, _, err := unix.Recvmsg(pair[0], b[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 8 {
		process.Kill()
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
