package monitor

import (
	"time"

	"golang.org/x/sys/unix"
)

// How long the end may take before the monitor leaves the rest to the sweeper
// alone, which is patient.
const (
	initPatience    = 2 * time.Second
	sweeperPatience = 10 * time.Second
)

// end takes everything down and returns when nothing is left, so that whoever
// waits for the broker finds a clean machine. A monitor that is killed before
// or during this loses nothing but the waiting: the same happens without it.
func (m *Monitor) end() {
	// An init whose socket closes ends, and with it every process of its
	// compartment.
	var pidfds []unix.PollFd
	for _, c := range m.components {
		if c.control >= 0 {
			unix.Close(c.control)
		}
		if c.pidfd >= 0 {
			pidfds = append(pidfds, unix.PollFd{Fd: int32(c.pidfd), Events: unix.POLLIN})
		}
	}
	for deadline := time.Now().Add(initPatience); len(pidfds) > 0; {
		left := time.Until(deadline)
		if left <= 0 {
			for _, p := range pidfds {
				unix.PidfdSendSignal(int(p.Fd), unix.SIGKILL, nil, 0)
			}
			break
		}
		unix.Poll(pidfds, int(left/time.Millisecond)+1)
		alive := pidfds[:0]
		for _, p := range pidfds {
			if p.Revents == 0 {
				alive = append(alive, p)
			}
		}
		pidfds = alive
	}
	for _, c := range m.components {
		if c.pid > 0 {
			unix.Wait4(c.pid, nil, unix.WNOHANG, nil)
		}
	}
	m.sweep()
	m.dismissKeeper()
}
