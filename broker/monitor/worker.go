package monitor

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/worker"
)

// work is one worker, from the request for it until nothing is left of it.
type work struct {
	id        uint32
	component *component
	state     state
	leaf      *cgroup.Leaf
	socket    int // to the worker's own init
	init      int // pidfd of the worker's own init: its end is the worker's
	program   int // pidfd of the program
	listener  int // seccomp listener
	broker    int // the monitor's end of the worker's broker socket
	brokerID  uint64
	requester *work  // the worker that asked for this one, nil: the supervisor
	request   uint32 // id of its request
	deadline  *timer
	why       string       // why the monitor killed it, "" when it did not
	ended     bool         // its end has been told
	dropped   map[int]bool // grants it gave up
	accepts   map[int]bool // eventfds of its waits for connections
	sealed    bool
	asked     bool  // for a worker, once
	launched  bool  // it is somebody's: it has its orders
	counted   bool  // it takes one of its component's places
	pooled    bool  // it was prepared in advance, and its place in the pool is to be filled
	stub      *stub // what stands for it in the component that executed its program
	// private is set for a worker of the monitor's own, a ready command:
	// its end is told to nobody else.
	private func(status unix.WaitStatus, ran bool)
}

// state is what a worker is at; the request table refers to it.
type state uint8

const (
	preparing state = 1 << iota // forked, its program does not run yet
	running
	ending // told to go, or gone
)

// first is the number of the first descriptor behind standard input, output
// and error, where LISTEN_FDS begins (sd_listen_fds(3)).
const first = 3

// prepareDescriptors works out what every worker of a component inherits: the
// granted sockets at the numbers that the plan gives, the broker socket behind
// them, and the environment that says so.
func (c *component) prepareDescriptors(p *plan.Plan, listeners map[int]int) {
	names, count, next := "", 0, first
	for _, b := range c.Grants {
		if b.Number < 0 {
			continue
		}
		next = max(next, b.Number+1)
		fd, ok := listeners[b.Grant]
		if !ok {
			continue // opened anew for each worker
		}
		// A worker of a connection gets that in the socket's place.
		if c.Start != plan.PerConnection {
			c.passed = append(c.passed, worker.Passed{FD: fd, Number: b.Number})
		}
		if b.Number == first+count {
			if count > 0 {
				names += ":"
			}
			names += p.Grants[b.Grant].Name
			count++
		}
	}
	if count > 0 {
		c.environment = append(c.environment,
			"LISTEN_FDS="+strconv.Itoa(count), "LISTEN_FDNAMES="+names)
	}
	c.listens = count > 0
	if c.listens && c.Start != plan.OnExec {
		// The program is the second process of its pid namespace, always.
		c.environment = append(c.environment, "LISTEN_PID=2")
	}
	if len(c.Grants) > 0 || c.asksForWorkers(p) {
		c.brokerFD = next
	}
	if c.brokerFD >= 0 && c.Start != plan.OnExec {
		c.environment = append(c.environment, "SANDBOX_BROKER_FD="+strconv.Itoa(c.brokerFD))
	}
}

var errLost = fmt.Errorf("its compartment is lost: %w", unix.EIO)

// spawn makes a worker up to the point where it waits for its descriptors.
// Every descriptor it opens is closed on every way out.
func (m *Monitor) spawn(c *component) (*work, error) {
	if c.control < 0 || c.group == nil {
		return nil, errLost
	}
	spare, err := m.takeLeaf(c)
	if err != nil {
		return nil, err
	}
	leaf := spare.leaf
	w := &work{
		id: spare.id, component: c, state: preparing, leaf: leaf,
		socket: -1, init: -1, program: -1, listener: -1, broker: -1,
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		m.removeLeaf(leaf, 0)
		return nil, fmt.Errorf("make its socket: %w", err)
	}
	defer unix.Close(pair[1])
	if err = worker.Spawn(c.control, w.id, c.Start == plan.OnExec, pair[1], leaf.Procs); err != nil {
		unix.Close(pair[0])
		m.removeLeaf(leaf, 0)
		if err == worker.ErrEnded {
			return nil, errLost // initGone is about to be called
		}
		return nil, fmt.Errorf("ask the compartment's init for it: %w", err)
	}
	if !c.keepsOpen() {
		leaf.Close()
	}
	w.socket = pair[0]
	m.workers[w.id] = w
	w.counted = true
	c.workers++
	if err := m.loop.add(w.socket, unix.EPOLLIN, func(uint32) { m.workerSays(w) }); err != nil {
		m.kill(w, "")
		return nil, err
	}
	return w, nil
}

// launch lets a worker run its program. extra are descriptors beside those of
// the plan; they win where numbers are equal, and stay the caller's.
func (m *Monitor) launch(w *work, extra []worker.Passed, environment, command []string, process *worker.Process) error {
	c := w.component
	m.reopenListeners(c)
	passed := m.standard(c, extra)
	for _, p := range c.passed {
		if !hasNumber(extra, p.Number) {
			passed = append(passed, p)
		}
	}
	passed = append(passed, extra...)
	var inherited []worker.Passed
	if command == nil && process == nil {
		var said []string
		inherited, said = c.inherit(m.plan)
		passed, environment = append(passed, inherited...), append(environment, said...)
	}
	if brokerFD := c.brokerFD; brokerFD >= 0 {
		if process != nil || len(inherited) > 0 {
			// Behind whatever is passed beside the plan's, so nothing is in its place.
			for _, p := range passed {
				brokerFD = max(brokerFD, p.Number+1)
			}
			environment = append(environment, "SANDBOX_BROKER_FD="+itoa(brokerFD))
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make its broker socket: %w", err)
		}
		defer unix.Close(pair[1])
		w.broker = pair[0]
		w.brokerID = inode(pair[1])
		m.brokers[w.brokerID] = true
		passed = append(passed, worker.Passed{FD: pair[1], Number: brokerFD})
	}
	opened, err := m.openAtStart(c)
	defer func() {
		for _, p := range opened {
			unix.Close(p.FD)
		}
	}()
	if err != nil {
		return err
	}
	passed = append(passed, opened...)
	if c.Limits.WallTime > 0 {
		w.deadline = m.loop.after(c.Limits.WallTime, func() {
			m.kill(w, "wall-time limit of "+c.Limits.WallTime.String()+" reached")
		})
	}
	order := func(passed []worker.Passed) error {
		err := worker.Go(w.socket, passed, append(environment, older(c.environment, environment)...), command, process)
		if err == nil || err == worker.ErrEnded {
			return nil // or it failed before it heard, and says why, or its end does
		}
		return fmt.Errorf("pass its descriptors: %w", err)
	}
	if wanted := m.connectionsAtStart(c); len(wanted) > 0 {
		return m.connectFirst(w, wanted, passed, order)
	}
	return order(passed)
}

// standard are descriptors 0, 1 and 2.
func (m *Monitor) standard(c *component, extra []worker.Passed) []worker.Passed {
	var passed []worker.Passed
	for number := range 3 {
		if hasNumber(extra, number) {
			continue
		}
		fd := m.null
		switch {
		case c.Output == plan.OutputInherit:
			fd = number
		case number > 0 && c.output[number-1] >= 0:
			fd = c.output[number-1]
		}
		passed = append(passed, worker.Passed{FD: fd, Number: number})
	}
	return passed
}

func hasNumber(passed []worker.Passed, number int) bool {
	for _, p := range passed {
		if p.Number == number {
			return true
		}
	}
	return false
}

// take takes a worker that was prepared in advance, or spawns one.
func (m *Monitor) take(c *component) (*work, error) {
	if len(c.ready) == 0 {
		return m.spawn(c)
	}
	w := c.ready[0]
	c.ready = c.ready[1:]
	w.pooled = true
	return w, nil
}

// refill fills the place of a worker from the pool: when its program runs, or
// never will. Before, the next one would be made on the processors that it
// needs itself.
func (m *Monitor) refill(w *work) {
	if w.pooled {
		w.pooled = false
		m.fillAhead(w.component)
	}
}

// run launches a worker for a request.
func (m *Monitor) run(c *component, r *request) (*work, error) {
	w, err := m.take(c)
	if err != nil {
		return nil, err
	}
	w.requester, w.request, w.launched = r.requester, r.id, true
	if err = m.launch(w, r.passed, r.environment, r.command, nil); err != nil {
		w.requester, w.launched = nil, false // the caller is told by the return value
		m.kill(w, err.Error())
		return nil, err
	}
	return w, nil
}

// fillAhead prepares for the next request what the last one used up, once
// nobody waits for an answer.
func (m *Monitor) fillAhead(c *component) {
	m.loop.later(func() {
		m.fillReady(c)
		m.fillSpares(c)
	})
}

// fillReady keeps as many workers prepared as the plan says.
func (m *Monitor) fillReady(c *component) {
	for len(c.ready) < c.Workers.ReadyAhead && c.workers < c.Workers.Maximum+c.Workers.ReadyAhead {
		w, err := m.spawn(c)
		if err != nil {
			return // the next request tries again and reports it
		}
		c.ready = append(c.ready, w)
	}
}

// spawned is called when the compartment's init forked a worker, or could not.
func (m *Monitor) spawned(said worker.Message) {
	w := m.workers[said.Worker]
	if w == nil {
		if said.Init >= 0 {
			unix.Close(said.Init)
		}
		return
	}
	if said.Errno != 0 {
		m.fail(w, said.Errno, "fork it")
		m.gone(w)
		return
	}
	w.init = said.Init
	if w.state == ending && (w.stub == nil || w.why != "") {
		// It was killed before there was a pidfd. (What was executed may
		// have ended by itself as early, and have left something.)
		unix.PidfdSendSignal(w.init, unix.SIGKILL, nil, 0)
	}
	if err := m.loop.add(w.init, unix.EPOLLIN, func(uint32) { m.gone(w) }); err != nil {
		m.kill(w, err.Error())
		// The loop does not hear of its end; without it the component waited for
		// this worker for ever.
		pidfd := w.init
		go func() {
			await(pidfd, initPatience)
			m.loop.post(func() { m.gone(w) })
		}()
	}
}

// workerSays reads what a worker's own init has to say.
func (m *Monitor) workerSays(w *work) {
	said, err := worker.Receive(w.socket)
	switch {
	case err == unix.EAGAIN:
	case err != nil:
		m.kill(w, "its init sent a malformed message")
	default:
		m.heard(w, said)
	}
}

// heard acts on a message and says whether another may follow.
func (m *Monitor) heard(w *work, said worker.Message) bool {
	switch said.Kind {
	case worker.Closed:
		m.loop.close(w.socket) // the pidfd of its init tells the rest
		w.socket = -1
		return false
	case worker.Started:
		m.started(w, said)
	case worker.Failed:
		m.fail(w, said.Errno, said.Step)
	case worker.Stopped:
		m.stopped(w, said.Status)
	case worker.Ended:
		// Its last message: one event less to wake up for. The pidfd of
		// its init tells the rest.
		m.loop.close(w.socket)
		w.socket = -1
		m.ended(w, said)
		return false
	}
	return true
}

func (m *Monitor) started(w *work, said worker.Message) {
	m.refill(w)
	w.program, w.listener = said.Program, said.Listener
	if w.state == preparing {
		w.state = running
	}
	// Only now: a program on another processor may ask before the monitor
	// has heard that it runs, and its request waits in the socket.
	if w.broker >= 0 {
		if err := m.loop.addFor(w.component, w.broker, unix.EPOLLIN, func(uint32) { m.workerAsks(w) }); err != nil {
			m.kill(w, err.Error())
		}
	}
	wakeHere(w.listener)
	if err := m.loop.addFor(w.component, w.listener, unix.EPOLLIN, func(events uint32) { m.notified(w, events) }); err != nil {
		m.kill(w, err.Error())
		m.fail(w, errnoOf(err), "watch the calls of its program") // nobody has heard that it started
		return
	}
	if w.stub != nil {
		m.stubStarted(w, said.Notes)
	} else if w.requester != nil {
		m.reply(w.requester, wire.Start, w.request, 0, func(b *wire.Message) { b.U32(w.id) })
	}
	if w.component.index == m.handover.Supervisor || w.private != nil {
		return
	}
	pid := pidOf(w.program)
	m.mention(w, wire.WorkerStarted, func(b *wire.Message) {
		b.U32(w.id).U32(uint32(w.component.index)).U32(uint32(pid)).U32(requesterID(w))
	})
}

func requesterID(w *work) uint32 {
	if w.requester == nil {
		return 0
	}
	return w.requester.id
}

// fail is called when a worker's program never ran.
func (m *Monitor) fail(w *work, errno syscall.Errno, step string) {
	if w.ended {
		return
	}
	w.ended = true
	w.state = ending
	m.release(w)
	w.component.ready = without(w.component.ready, w) // its end is told: no request may get it
	if w.private != nil {
		w.private(0, false)
		return
	}
	if w.stub != nil {
		m.stubFails(w.stub, errno, w.component.Name+": "+step+": "+errno.Error())
	} else if w.requester != nil {
		m.reply(w.requester, wire.Start, w.request, errno, nil)
	}
	if w.component.index == m.handover.Supervisor {
		lastWords("start the supervisor: " + step + ": " + errno.Error())
		m.unlinkSupervisor()
		m.finish(m.status)
		return
	}
	m.tell(wire.WorkerFailed, func(b *wire.Message) {
		b.U32(w.id).U32(uint32(w.component.index)).U32(uint32(errno)).String(step)
	})
}

// lastWords says why the application ends when nobody else can say it: without
// the supervisor there is no other voice.
func lastWords(why string) { os.Stderr.WriteString("sandbox: " + why + "\n") }
