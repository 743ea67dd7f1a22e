package monitor

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
)

// keeper is the process that executes programs for the monitor, which may not:
// the builder of compartments and the sweeper, as they were settled when the
// application started. What it starts is the monitor's child.
type keeper struct {
	socket  int // -1 when it is gone
	last    uint32
	waiting map[uint32]func(child, error) // for the answer to an order
	lost    bool                          // it ended before the application was to
}

// child is a process that the keeper started.
type child struct{ pid, pidfd int }

// keeperPatience is how long the end of the keeper, or its answer when the
// application ends, is waited for.
const keeperPatience = time.Second

var errKeeperEnded = fmt.Errorf("order the keeper: it has ended: %w", unix.EPIPE)

func (m *Monitor) watchKeeper() error {
	if err := unix.SetNonblock(m.keeper.socket, true); err != nil {
		return err
	}
	return m.loop.add(m.keeper.socket, unix.EPOLLIN, func(uint32) { m.keeperSays() })
}

// order tells the keeper what to do; then gets the program that it executed,
// where it does. The descriptors stay the caller's.
func (m *Monitor) order(what uint32, then func(child, error), fds ...int) error {
	if m.keeper.socket < 0 {
		return errKeeperEnded
	}
	m.keeper.last++
	b := binary.NativeEndian.AppendUint32(nil, what)
	b = binary.NativeEndian.AppendUint32(b, m.keeper.last)
	if err := send(m.keeper.socket, b, fds); err == unix.EPIPE {
		return errKeeperEnded
	} else if err != nil {
		return fmt.Errorf("order the keeper: %w", err)
	}
	if then != nil {
		m.keeper.waiting[m.keeper.last] = then
	}
	return nil
}

// settle tells the keeper what becomes of the plan that was brought.
func (m *Monitor) settlePlan(what uint32) {
	if m.keeper.socket >= 0 {
		b := binary.NativeEndian.AppendUint32(nil, what)
		send(m.keeper.socket, binary.NativeEndian.AppendUint32(b, 0), nil)
	}
}

// keeperSays reads one answer of the keeper.
func (m *Monitor) keeperSays() {
	var b [handover.AnswerSize + 1]byte
	var control [64]byte // room for more than the one descriptor that is expected
	n, cn, _, _, err := unix.Recvmsg(m.keeper.socket, b[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.EAGAIN || err == unix.EINTR || err == unix.ENOMEM || err == unix.ENOBUFS {
		return // what it says, if anything, is still there
	}
	var fds []int
	if err == nil {
		fds, err = wire.Rights(control[:cn])
	}
	brought := binary.NativeEndian.Uint32(b[:]) == handover.Brought
	if err != nil || n != handover.AnswerSize || brought != (len(fds) == 2) || len(fds) > 2 {
		closeAll(fds)
		m.keeperGone()
		return
	}
	if brought {
		m.reloadAsked(fds[0], fds[1])
		return
	}
	started := child{pid: int(binary.NativeEndian.Uint32(b[12:])), pidfd: -1}
	if len(fds) == 1 {
		started.pidfd = fds[0]
	}
	id := binary.NativeEndian.Uint32(b[4:])
	then := m.keeper.waiting[id]
	delete(m.keeper.waiting, id)
	if errno := syscall.Errno(binary.NativeEndian.Uint32(b[8:])); errno != 0 || started.pidfd < 0 || then == nil {
		unix.Close(started.pidfd)
		if then != nil {
			then(child{}, fmt.Errorf("the keeper could not start it: %w", errno))
		}
		return
	}
	then(started, nil)
}

// keeperGone is called when the keeper ended. Without it no compartment can be
// built again and no sweeper replaced: the application ends in order, while
// what it has still works.
func (m *Monitor) keeperGone() {
	m.loop.close(m.keeper.socket)
	m.keeper.socket = -1
	waiting := m.keeper.waiting
	m.keeper.waiting = map[uint32]func(child, error){}
	for _, then := range waiting {
		then(child{}, fmt.Errorf("the keeper has ended: %w", unix.EPIPE))
	}
	if m.loop.done {
		return
	}
	m.keeper.lost = true
	lastWords("the keeper ended, who builds compartments again and replaces the sweeper; the application stops")
	if m.stopping {
		m.tellStop(0) // it stops already, and is not to hurry
	} else {
		m.stopAsked(unix.SIGTERM)
	}
}

// dismissKeeper lets the keeper end and waits until it has.
func (m *Monitor) dismissKeeper() {
	if m.keeper.socket >= 0 {
		unix.Close(m.keeper.socket)
		m.keeper.socket = -1
	}
	if pidfd, err := unix.PidfdOpen(m.handover.KeeperPid, 0); err == nil {
		await(pidfd, keeperPatience)
		unix.Close(pidfd)
	}
	unix.Wait4(m.handover.KeeperPid, nil, unix.WNOHANG, nil)
}

// await waits until fd can be read, a pidfd: until its process has ended.
func await(fd int, patience time.Duration) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(poll, int(max(0, time.Until(deadline))/time.Millisecond)+1)
		if n > 0 || err != nil && err != unix.EINTR {
			return err == nil
		}
		if !time.Now().Before(deadline) {
			return false
		}
	}
}
