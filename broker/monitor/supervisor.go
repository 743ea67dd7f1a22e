package monitor

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// Numbers of the descriptors that the supervisor starts with.
const (
	supervisorLink    = 3
	supervisorControl = 4
	supervisorPlan    = 5
	supervisorStatus  = 6
	supervisorMetrics = 7 // a granted socket, if the plan has one for it
)

// startSupervisor runs the supervisor, a component like the others but for
// the descriptors it gets, and makes everybody's log pipes.
func (m *Monitor) startSupervisor() error {
	link, err := m.linkSupervisor()
	if err != nil {
		return err
	}
	defer unix.Close(link)
	for _, c := range m.components {
		if err := m.makePipes(c, c.index == m.handover.Supervisor); err != nil {
			return err
		}
	}
	passed := []worker.Passed{
		{FD: link, Number: supervisorLink},
		{FD: m.handover.Control, Number: supervisorControl},
		{FD: m.handover.Status, Number: supervisorStatus},
	}
	for grant, listener := range m.listeners {
		if m.plan.Control.Metrics != "" && m.plan.Grants[grant].Name == m.plan.Control.Metrics {
			passed = append(passed, worker.Passed{FD: listener, Number: supervisorMetrics})
		}
	}
	return m.runSupervisor(&request{passed: passed})
}

// begin lets the supervisor begin, which waits for that first.
func (m *Monitor) begin() {
	m.message.Begin(wire.Header{Kind: wire.Event, Op: wire.Begin})
	m.sendToSupervisor(nil)
	for _, c := range m.components {
		m.tellPipes(c)
	}
}

// linkSupervisor makes the socket between monitor and supervisor and returns the
// supervisor's end.
func (m *Monitor) linkSupervisor() (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make the supervisor's socket: %w", err)
	}
	m.link = pair[0]
	// Room for a burst of events: what it cannot hold makes the monitor wait.
	unix.SetsockoptInt(m.link, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	if err := m.loop.add(m.link, unix.EPOLLIN, func(uint32) { m.supervisorAsks() }); err != nil {
		unix.Close(pair[1])
		return -1, err
	}
	return pair[1], nil
}

// runSupervisor runs it with what every supervisor gets beside what r passes.
func (m *Monitor) runSupervisor(r *request) error {
	r.passed = append(r.passed,
		worker.Passed{FD: 0, Number: 0}, worker.Passed{FD: 1, Number: 1}, worker.Passed{FD: 2, Number: 2},
		worker.Passed{FD: m.planFD, Number: supervisorPlan})
	w, err := m.run(m.components[m.handover.Supervisor], r)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	m.supervisor = w
	return nil
}

// pipeEnd is the end of a component's pipe that the supervisor reads.
type pipeEnd struct{ stream, fd int }

// makePipes makes what a component writes to.
func (m *Monitor) makePipes(c *component, supervisor bool) error {
	if !supervisor && c.Output == plan.OutputLog {
		if err := c.makeOutput(); err != nil {
			return fmt.Errorf("component %q: make its log pipes: %w", c.Name, err)
		}
	}
	if err := c.makeReadyPipe(); err != nil {
		return fmt.Errorf("component %q: make its ready pipe: %w", c.Name, err)
	}
	if err := m.makeNotify(c); err != nil {
		return fmt.Errorf("component %q: %w", c.Name, err)
	}
	return nil
}

// tellPipes gives the supervisor its ends.
func (m *Monitor) tellPipes(c *component) {
	for _, end := range c.untold {
		m.tellPipe(c, end)
		unix.Close(end.fd)
	}
	c.untold = nil
	m.tellOutput(c)
}

// tellOutput gives the supervisor the ends that it reads a component's output
// from.
func (m *Monitor) tellOutput(c *component) {
	for stream, fd := range c.written {
		if fd >= 0 {
			m.tellPipe(c, pipeEnd{stream + 1, fd})
		}
	}
}

func (m *Monitor) tellPipe(c *component, end pipeEnd) {
	m.tell(wire.OutputPipe, func(b *wire.Message) {
		b.U32(uint32(c.index)).U32(uint32(end.stream))
	}, end.fd)
}

// makeOutput makes the pipes for a component's standard output and error. The
// monitor keeps both ends: a pipe outlives every worker, and with what stands in
// it a supervisor that is killed.
func (c *component) makeOutput() error {
	for stream := range c.output {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		c.written[stream], c.output[stream] = pipe[0], pipe[1]
	}
	return nil
}

// commands is everything that the supervisor can ask for. All of it stays
// within the plan: it can start what the plan describes and end what runs.
var commands map[wire.Op]func(*Monitor, wire.Header, *wire.Body) (uint32, error)

// Filled here because the functions lead back to the table.
func init() {
	commands = map[wire.Op]func(*Monitor, wire.Header, *wire.Body) (uint32, error){
		wire.StartWorker:  (*Monitor).commandStart,
		wire.SignalWorker: (*Monitor).commandSignal,
		wire.Finish:       (*Monitor).commandFinish,
		wire.Rebuild:      (*Monitor).commandRebuild,
		wire.Hold:         (*Monitor).commandHold,
		wire.Probe:        (*Monitor).commandProbe,
		wire.OpenLog:      (*Monitor).commandOpenLog,
		wire.Check:        (*Monitor).commandCheck,
		wire.Announce:     (*Monitor).commandAnnounce,
		wire.Watch:        (*Monitor).commandWatch,
		wire.Retire:       (*Monitor).commandRetire,
		wire.Reload:       (*Monitor).commandReload,
		wire.Adopted:      (*Monitor).commandAdopted,
		wire.Tidy:         (*Monitor).commandTidy,
		wire.EndTidy:      (*Monitor).commandEndTidy,
		wire.Freeze:       (*Monitor).commandFreeze,
	}
}

// supervisorAsks reads and performs one command. A supervisor that says what
// none says is not ours any more: the application ends.
func (m *Monitor) supervisorAsks() {
	packet, fds, err := m.packets.receive(m.link)
	if err == unix.EAGAIN {
		return
	}
	closeAll(fds)
	if err == nil && len(packet) == 0 {
		m.supervisorParts()
		return
	}
	if err == nil {
		err = m.obey(packet, len(fds))
	}
	if err != nil {
		m.dropSupervisor("the supervisor said what no supervisor says, and the application ends: " + err.Error())
	}
}

// obey performs a command and answers it, unless that comes later. An error is
// one that no supervisor makes.
func (m *Monitor) obey(packet []byte, fds int) error {
	h, body, err := wire.Parse(packet, fds)
	if err != nil {
		return err
	}
	command := commands[h.Op]
	if h.Kind != wire.Request || fds > 0 {
		return wire.ErrHeader
	}
	if command == nil || m.succession != noSuccession && !ofSuccessors[h.Op] {
		return fmt.Errorf("there is no command %d", h.Op)
	}
	value, failed := command(m, h, &body)
	if err := body.End(); err != nil { // asked again: every command does first of all
		return err
	}
	if failed != errLater {
		m.replySupervisor(h, value, failed)
	}
	return nil
}

// partingPatience is how much later than its socket's end a supervisor's own may
// be heard of.
const partingPatience = time.Second

// supervisorParts is called at the end of its socket. The kernel closes that
// before it tells the parent of the end of the process, and only that says how it
// was.
func (m *Monitor) supervisorParts() {
	m.unlinkSupervisor()
	m.parting = true
	w := m.supervisor
	m.loop.after(partingPatience, func() {
		if m.supervisor == w {
			m.supervisorEnded("")
		}
	})
}

// supervisorEnded is called for the end of its process, which says how, and where
// nothing is heard of that.
func (m *Monitor) supervisorEnded(how string) {
	parting := m.parting
	m.parting = false
	switch {
	case m.link < 0 && !parting: // it was said why
	case m.succession == writing:
		m.dropSupervisor("what the components had written last is lost: the supervisor's successor ended" + how)
	default:
		m.dropSupervisor("the supervisor ended" + how + "; the application ends with it")
	}
}

// dropSupervisor ends the application, and says why.
func (m *Monitor) dropSupervisor(why string) {
	lastWords(why)
	m.unlinkSupervisor()
	if m.supervisor != nil {
		m.kill(m.supervisor, why)
	}
	m.supervisorLost()
}

func (m *Monitor) unlinkSupervisor() {
	m.loop.close(m.link)
	m.link = -1
}

// asked is the component that the supervisor means with a number.
func (m *Monitor) asked(number uint32) (*component, error) {
	if uint64(number) >= uint64(len(m.numbers)) {
		return nil, unix.EINVAL
	}
	return m.numbers[number], nil
}

// errLater says that a command is answered when it is done.
var errLater = errors.New("the answer comes later")

func (m *Monitor) replySupervisor(h wire.Header, value uint32, err error) {
	if m.link < 0 {
		return
	}
	reply := wire.Header{Kind: wire.Reply, Op: h.Op, ID: h.ID}
	if err != nil {
		reply.Status = uint32(errnoOf(err))
		m.message.Begin(reply).String(bounded(err.Error()))
	} else {
		m.message.Begin(reply).U32(value)
	}
	m.sendToSupervisor(nil)
}

func (m *Monitor) commandStart(h wire.Header, b *wire.Body) (uint32, error) {
	c, err := m.asked(b.U32())
	if end := b.End(); end != nil {
		return 0, end
	}
	if err != nil || c.index == m.handover.Supervisor {
		return 0, unix.EINVAL
	}
	// Only what the plan lets run by itself, and only as many.
	if c.Start != plan.WithApplication && c.Start != plan.OnDemand {
		return 0, unix.EPERM
	}
	if c.active() >= c.Workers.Maximum {
		return 0, fmt.Errorf("the worker before has not ended yet: %w", unix.EBUSY)
	}
	w, err := m.run(c, &request{})
	if err != nil {
		return 0, err
	}
	return w.id, nil
}

func (m *Monitor) commandSignal(h wire.Header, b *wire.Body) (uint32, error) {
	id, signal, whole := b.U32(), unix.Signal(b.U32()), b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	w := m.workers[id]
	if w == nil || w == m.supervisor {
		return 0, unix.ESRCH
	}
	if whole == 1 {
		m.kill(w, "killed by the supervisor")
		return 0, nil
	}
	if w.program < 0 {
		return 0, unix.ESRCH
	}
	return 0, m.signalProgram(w, signal)
}

// signalProgram signals a worker's program or, where that has gone into the
// background, whoever is there of it.
func (m *Monitor) signalProgram(w *work, signal unix.Signal) error {
	err := unix.PidfdSendSignal(w.program, signal, nil, 0)
	if err == unix.ESRCH && w.component.Life.Background {
		m.signalAll(w, signal)
		return nil
	}
	return err
}

func (m *Monitor) commandFinish(h wire.Header, b *wire.Body) (uint32, error) {
	status := b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	if m.succession != noSuccession {
		status = uint32(m.status) // a successor does not know why the application ends
	}
	m.finish(int(status & 0xff))
	return 0, nil
}
