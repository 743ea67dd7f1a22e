package monitor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
)

// buildPatience is how long the builder may say nothing.
const buildPatience = 30 * time.Second

// build has the keeper run the builder, out of the plan that is or the one that
// comes; then gets what that made. libcontainer has no place in this process,
// nor has exec. The inits, the builder's children, become the monitor's when it
// ends (PR_SET_CHILD_SUBREAPER).
func (m *Monitor) build(what uint32, components, grants []int, then func(*handover.Built, error)) error {
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
	err = handover.Order{Components: components, Grants: grants}.Send(pair[0])
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
func receiveBuilt(socket int, builder child, most int) (*handover.Built, error) {
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
	made := &handover.Built{}
	if err := made.Receive(socket, most); err != nil {
		unix.PidfdSendSignal(builder.pidfd, unix.SIGKILL, nil, 0)
		made.Close()
		return nil, err
	}
	return made, nil
}
