package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// commandCheck tries once whether a component works, in the way that the plan
// says. What it finds ends without an errno: no call failed, and a component that
// has much memory is no kernel that has none. A connection for HTTP is only made
// here: the supervisor speaks on it.
func (m *Monitor) commandCheck(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil {
		return 0, err
	}
	health := &c.Life.Health
	if c.checking {
		return 0, errors.New("the check before hangs still")
	}
	if health.Memory > 0 {
		if has := m.memoryOf(c); has > health.Memory {
			return 0, fmt.Errorf("it has %d KiB of memory, more than %s", has>>10, size(health.Memory))
		}
	}
	switch health.Kind {
	case 0:
		if health.Memory == 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case plan.HealthConnect:
		listener, bound := m.listeners[health.Grant]
		if !bound {
			return 0, unix.EINVAL
		}
		m.checkAside(c, h, func() (int, error) {
			if !m.accepts(&m.plan.Grants[health.Grant], listener, health.Timeout) {
				return -1, fmt.Errorf("its socket accepted no connection within %s", health.Timeout)
			}
			return -1, nil
		})
	case plan.HealthHTTP:
		m.checkAside(c, h, func() (int, error) {
			fd, errno := m.connect(itself(), &m.plan.Grants[health.Grant])
			if errno != 0 {
				return -1, fmt.Errorf("connect to its socket: %w", errno)
			}
			return fd, nil
		})
	case plan.HealthCommand:
		err := m.runPrivate(c, health.Command, health.Timeout, func(status int) {
			c.checking = false
			var err error
			if status != 0 {
				err = errors.New("its health command did not end with 0 in time")
			}
			m.replySupervisor(h, 0, err)
		})
		if err != nil {
			return 0, fmt.Errorf("run its health command: %w", err)
		}
		c.checking = true
	default:
		return 0, unix.EINVAL
	}
	return 0, errLater
}

// memoryOf is the memory that a component's workers have for themselves, in
// bytes: what is resident and no file's and not shared (proc_pid_statm(5)).
func (m *Monitor) memoryOf(c *component) (total uint64) {
	for _, w := range m.workersOf(c) {
		if w.private != nil {
			continue
		}
		for _, pid := range w.leaf.Processes() {
			b, _ := os.ReadFile("/proc/" + itoa(pid) + "/statm")
			fields := bytes.Fields(b)
			if len(fields) < 3 {
				continue // it has ended
			}
			resident, _ := strconv.ParseUint(string(fields[1]), 10, 64)
			shared, _ := strconv.ParseUint(string(fields[2]), 10, 64)
			total += (resident - min(resident, shared)) * uint64(os.Getpagesize())
		}
	}
	return total
}

// checkAside tries what may take its time away from the loop. What it
// connected goes to the supervisor.
func (m *Monitor) checkAside(c *component, h wire.Header, try func() (fd int, err error)) {
	c.checking = true
	go func() {
		fd, err := try()
		m.loop.post(func() {
			c.checking = false
			if fd >= 0 && c.index < 0 {
				unix.Close(fd)
			} else if fd >= 0 {
				m.tell(wire.HealthSocket, func(b *wire.Message) { b.U32(uint32(c.index)) }, fd)
				unix.Close(fd)
			}
			m.replySupervisor(h, 0, err)
		})
	}()
}
