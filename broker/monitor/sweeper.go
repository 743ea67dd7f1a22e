package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
)

// sweeperDelay is how long a sweeper that died is not replaced: one that
// cannot run must not keep the machine busy.
const sweeperDelay = 100 * time.Millisecond

// watchSweeper replaces a sweeper that dies before its time: a broker that
// ends without one leaves its cgroups, its sockets and its directory.
func (m *Monitor) watchSweeper() error {
	pidfd, err := unix.PidfdOpen(m.handover.SweeperPid, 0)
	if err != nil {
		return err
	}
	return m.loop.add(pidfd, unix.EPOLLIN, func(uint32) {
		m.loop.close(pidfd)
		m.buriedSweeper()
		m.loop.after(sweeperDelay, m.replaceSweeper)
	})
}

func (m *Monitor) replaceSweeper() {
	if m.startSweeper() != nil || m.watchSweeper() != nil {
		m.loop.after(10*sweeperDelay, m.replaceSweeper)
	}
}

func (m *Monitor) startSweeper() (err error) {
	h := m.handover
	h.Sweeper, h.SweeperPid, err = handover.StartSweeper(h.Sweep, h.Lock)
	return err
}

// buriedSweeper forgets a sweeper that is dead and says how it ended.
func (m *Monitor) buriedSweeper() unix.WaitStatus {
	var status unix.WaitStatus
	unix.Wait4(m.handover.SweeperPid, &status, unix.WNOHANG, nil)
	if m.handover.Sweeper >= 0 {
		unix.Close(m.handover.Sweeper)
	}
	m.handover.Sweeper, m.handover.SweeperPid = -1, 0
	return status
}

// sweep lets the sweeper remove cgroups, sockets and the directory, and waits.
func (m *Monitor) sweep() {
	// It removes the files of sockets that nobody has any more.
	for _, fd := range m.listeners {
		unix.Close(fd)
	}
	// Again when somebody kills it at its work.
	for range 3 {
		if m.handover.SweeperPid == 0 && m.startSweeper() != nil {
			return
		}
		pidfd, err := unix.PidfdOpen(m.handover.SweeperPid, 0)
		unix.Close(m.handover.Sweeper)
		m.handover.Sweeper = -1
		if err != nil {
			return
		}
		poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		for deadline := time.Now().Add(sweeperPatience); time.Now().Before(deadline); {
			if n, err := unix.Poll(poll, int(time.Until(deadline)/time.Millisecond)+1); n > 0 || err != nil && err != unix.EINTR {
				break
			}
		}
		unix.Close(pidfd)
		if !m.buriedSweeper().Signaled() {
			return
		}
	}
}
