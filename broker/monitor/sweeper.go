package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/sandbox/cgroup"
)

// sweeperDelay is how long a sweeper that was killed is not replaced; one that
// ended by itself, because it cannot run, must not keep the machine busy.
const sweeperDelay = 100 * time.Millisecond

// watchSweeper replaces a sweeper that dies before its time: a broker that
// ends without one leaves its cgroups, its sockets and its directory.
func (m *Monitor) watchSweeper(pidfd int) error {
	return m.loop.add(pidfd, unix.EPOLLIN, func(uint32) {
		m.loop.close(pidfd)
		delay := sweeperDelay
		if !m.buriedSweeper().Signaled() {
			delay *= 10
		}
		m.loop.after(delay, m.replaceSweeper)
	})
}

func (m *Monitor) replaceSweeper() {
	if m.handover.SweeperPid > 0 || m.sweeperAsked {
		return // somebody could not wait for it
	}
	if m.orderSweeper(func(pidfd int) error { return m.watchSweeper(pidfd) }) != nil {
		m.replaceLater()
	}
}

// replaceLater tries again when there may be what the last try lacked.
func (m *Monitor) replaceLater() {
	if m.keeper.socket >= 0 {
		m.loop.after(10*sweeperDelay, m.replaceSweeper)
	}
}

// orderSweeper has the keeper start a sweeper. then gets its pidfd, and closes it.
func (m *Monitor) orderSweeper(then func(pidfd int) error) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	m.sweeperAsked = true
	err := m.order(handover.OrderSweep, func(started child, err error) {
		m.sweeperAsked = false
		if err != nil {
			unix.Close(pipe[1])
			m.replaceLater()
			return
		}
		m.handover.Sweeper, m.handover.SweeperPid = pipe[1], started.pid
		if then(started.pidfd) != nil {
			unix.Close(started.pidfd)
		}
	}, pipe[0], m.handover.Lock)
	if err != nil {
		m.sweeperAsked = false
		unix.Close(pipe[1])
	}
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
	// It ends what is in the application's groups.
	if m.handover.Outside >= 0 {
		cgroup.Enter(m.handover.Outside)
	}
	// It removes the files of sockets that nobody has any more.
	for _, fd := range m.listeners {
		unix.Close(fd)
	}
	// Again when somebody kills it at its work.
	for range 3 {
		if !m.haveSweeper() {
			return
		}
		pidfd, err := unix.PidfdOpen(m.handover.SweeperPid, 0)
		unix.Close(m.handover.Sweeper)
		m.handover.Sweeper = -1
		if err != nil {
			return
		}
		await(pidfd, sweeperPatience)
		unix.Close(pidfd)
		if !m.buriedSweeper().Signaled() {
			return
		}
	}
}

// haveSweeper makes sure that there is a sweeper, now that no loop runs.
func (m *Monitor) haveSweeper() bool {
	for range 3 { // once may fail
		if m.handover.SweeperPid == 0 && !m.sweeperAsked {
			m.orderSweeper(func(pidfd int) error { return unix.Close(pidfd) })
		}
		for m.handover.SweeperPid == 0 && m.sweeperAsked && await(m.keeper.socket, keeperPatience) {
			m.keeperSays()
		}
		if m.handover.SweeperPid != 0 {
			return true
		}
	}
	return false
}
