package monitor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
)

// errNotBuilt is why the application does not start, and was said.
var errNotBuilt = errors.New("the builder says why")

// takeOverAll takes over the compartments that the launcher ordered. What it says of
// those that cannot be built is what the launcher would say: several may have failed
// at once, each with a line.
func (m *Monitor) takeOverAll() error {
	made := &handover.Built{}
	err := made.Receive(m.handover.Builder, len(m.components), m.takeOver)
	var refused *handover.BuildError
	if errors.As(err, &refused) || errors.Is(err, handover.ErrBuilder) {
		for line := range strings.Lines(err.Error()) {
			lastWords(strings.TrimSuffix(line, "\n"))
		}
		return errNotBuilt
	}
	return err
}

// takeOver takes over one of them, when it is there. The supervisor gets ready
// while others are built, unless the resolver has to run before it.
func (m *Monitor) takeOver(made handover.Compartment) error {
	if made.Component < 0 || made.Component >= len(m.components) || m.components[made.Component].control >= 0 {
		return fmt.Errorf("take over compartment %d: %w", made.Component, unix.EPROTO)
	}
	c := m.components[made.Component]
	m.brokerFiles(c) // which looks into its root
	if err := m.adopt(c, made); err != nil {
		return fmt.Errorf("component %q: take over its compartment: %w", c.Name, err)
	}
	m.writeHostsOf(c)
	m.fillAhead(c)
	if c.index == m.handover.Supervisor && m.handover.Resolver < 0 {
		return m.startSupervisor()
	}
	return nil
}

// endBuilder waits for the builder that the launcher started: then the inits are
// this process's children. One that is at work still gives up.
func (m *Monitor) endBuilder() {
	unix.Close(m.handover.Builder)
	bury(m.handover.BuilderPid)
}

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
		bury(builder.pid)
	}()
	timeout := unix.NsecToTimeval(buildPatience.Nanoseconds())
	unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	made := &handover.Built{}
	if err := made.Receive(socket, most, nil); err != nil {
		unix.PidfdSendSignal(builder.pidfd, unix.SIGKILL, nil, 0)
		made.Close()
		return nil, err
	}
	return made, nil
}

// bury waits for a child.
func bury(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
