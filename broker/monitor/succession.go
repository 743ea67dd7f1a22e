package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/sandbox/worker"
)

// succession is how far the end of an application is whose supervisor was lost.
// Its components have written what nobody has read yet: first they end, so that
// they write no more; then a successor, the supervisor's program in the
// supervisor's compartment, writes what stands in their pipes. It knows nothing
// of the life cycle and ends the application with that.
type succession uint8

const (
	noSuccession succession = iota
	closing                 // the components end
	writing                 // the successor was started
)

// successionPatience is for all of it: a log that cannot be written must not
// keep the application from ending.
const successionPatience = 10 * time.Second

// successorArgument tells the supervisor's program that it is a successor.
const successorArgument = "successor"

// ofSuccessors are the commands that one may give: with the others it could
// start again what has ended.
var ofSuccessors = map[wire.Op]bool{wire.OpenLog: true, wire.Finish: true}

// supervisorLost ends the application. It is called for each sign of the loss:
// the end of its socket, of its process, of its compartment.
func (m *Monitor) supervisorLost() {
	switch {
	case m.succession == closing:
		m.loop.later(m.tendSuccession) // known; the last of its signs may have been waited for
		return
	case m.succession == writing, !m.anybodyLogs():
		m.finish(m.status)
		return
	}
	m.succession = closing
	m.unlinkSupervisor()
	m.flushNews() // to nobody
	m.closeDoors()
	if r := m.reload; r != nil && r.told && m.plan != r.plan {
		m.giveUp(r, errStopping) // what is not told yet finds out by itself
	}
	m.loop.after(successionPatience, func() { m.finish(m.status) })
	for _, c := range m.components {
		if c.index != m.handover.Supervisor && c.pidfd >= 0 {
			c.gone = func() { m.loop.later(m.tendSuccession) }
			m.loop.close(c.control) // which ends the init
			c.control = -1
		}
	}
	m.loop.later(m.tendSuccession)
}

// anybodyLogs says whether there are pipes for a successor to read.
func (m *Monitor) anybodyLogs() bool {
	for _, c := range m.components {
		if c.written[0] >= 0 {
			return true
		}
	}
	return false
}

// tendSuccession starts the successor when nobody writes any more.
func (m *Monitor) tendSuccession() {
	if m.succession != closing || m.supervisor != nil {
		return
	}
	for _, c := range m.components {
		if c.index != m.handover.Supervisor && c.pidfd >= 0 {
			return
		}
	}
	m.succession = writing
	for _, c := range m.components {
		c.closeOutput()
	}
	supervisor := m.components[m.handover.Supervisor]
	if supervisor.control >= 0 {
		m.startSuccessor()
		return
	}
	err := m.build(handover.OrderBuild, []int{supervisor.index}, nil, func(made *handover.Built, err error) {
		if err == nil {
			err = m.rebuilt(supervisor, made)
		}
		if err != nil {
			m.noSuccessor(err)
			return
		}
		m.startSuccessor()
	})
	if err != nil {
		m.noSuccessor(err)
	}
}

// startSuccessor gives the successor the pipes, which all come to their end.
func (m *Monitor) startSuccessor() {
	m.numbers, m.logs = m.components, m.plan.Logs
	link, err := m.linkSupervisor()
	if err != nil {
		m.noSuccessor(err)
		return
	}
	defer unix.Close(link)
	for _, c := range m.components {
		m.tellOutput(c)
	}
	err = m.runSupervisor(&request{
		command: []string{m.components[m.handover.Supervisor].Program, successorArgument},
		passed:  []worker.Passed{{FD: link, Number: supervisorLink}},
	})
	if err != nil {
		m.noSuccessor(err)
	}
}

func (m *Monitor) noSuccessor(err error) {
	lastWords("what the components had written last is lost: " + err.Error())
	m.finish(m.status)
}

// closeOutput closes the ends that workers write to.
func (c *component) closeOutput() {
	for stream, fd := range c.output {
		if fd >= 0 {
			unix.Close(fd)
		}
		c.output[stream] = -1
	}
}
