package monitor

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// What a finish script says and hears, in the words of s6-supervise(8).
const (
	finishForGood  = 125 // its exit status: never start the program again
	finishSignaled = 256 // its first argument, where a signal ended the program
)

// commandTidy runs a component's finish command once its worker has ended. The
// answer comes when that has ended too, or was killed because its time was over.
func (m *Monitor) commandTidy(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	how, code := b.U32(), b.U32()
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil {
		return 0, err
	}
	finish := &c.Life.Finish
	if len(finish.Command) == 0 || how != wire.Exited && how != wire.Signaled || code > 255 {
		return 0, unix.EINVAL
	}
	status, signal := code, uint32(0)
	if how == wire.Signaled {
		status, signal = finishSignaled, code
	}
	command := append(finish.Command[:len(finish.Command):len(finish.Command)],
		strconv.FormatUint(uint64(status), 10), strconv.FormatUint(uint64(signal), 10))
	err = m.runPrivate(c, command, finish.Timeout, func(status int) {
		switch status {
		case finishForGood:
			m.replySupervisor(h, 0, fmt.Errorf("its finish command says so, with status %d: %w", status, unix.ECANCELED))
		case -1:
			m.replySupervisor(h, 0, fmt.Errorf("its finish command did not end within %s", finish.Timeout))
		default:
			m.replySupervisor(h, 0, nil)
		}
	})
	if err != nil {
		return 0, fmt.Errorf("run its finish command: %w", err)
	}
	return 0, errLater
}

// commandEndTidy ends a component's finish command, of which commandTidy tells.
// No other command of its own runs then: they end with the worker.
func (m *Monitor) commandEndTidy(_ wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil {
		return 0, err
	}
	if len(c.Life.Finish.Command) == 0 {
		return 0, unix.EINVAL
	}
	m.killPrivate(c, "its component is destroyed")
	return 0, nil
}
