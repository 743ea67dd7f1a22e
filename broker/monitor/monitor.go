// Package monitor is the privileged process of a running application.
//
// It holds the plan, the granted sockets and the sockets of the compartments'
// inits. It starts workers, answers their requests, performs the calls that
// their filters hand to it, and hands out descriptors. It reads no YAML and no
// JSON, writes no logs and opens no network of its own: it tells the
// supervisor, who does the rest without privileges.
//
//	monitor.go     the state, the start and the end
//	loop.go        one goroutine, one event after the other
//	turn.go        whose turn it is
//	budget.go      how often a component may ask
//	worker.go      workers from spawn to their programs
//	gone.go        … and how they end
//	leaf.go        their cgroups, some made ahead
//	queue.go       requests that wait for a free worker
//	connection.go  connections that each get a worker
//	request.go     the table of what a worker may ask, and in which state
//	packet.go      the packets of the loop, in memory of their own
//	open.go        files and directories
//	lookup.go      … looked up beneath their grants
//	accept.go      connections of listening sockets
//	socket.go      listening and outgoing sockets
//	start.go       workers started by workers
//	notification.go  calls that the filter stopped
//	file.go        those on files: who does the work, and how a call ends
//	path.go        which of them are beneath a grant
//	opening.go     … and open files
//	attribute.go   … look at files, and change what is said of them
//	name.go        … and make, rename and remove names
//	directory.go   … and list and enter directories
//	standin.go     what stands for directories in a compartment
//	hands.go       threads that do what may wait, as the component
//	split.go       … among them the exec of what another component replaces
//	caller.go      what the kernel knows of whoever executed it
//	pass.go        what of that reaches the program
//	stub.go        what stands for the program there
//	supervisor.go  the table of what the supervisor may ask
//	succession.go  … and who writes the last lines when it is lost
//	news.go        what the supervisor is told, and when
//	denial.go      … of refusals and of descriptors handed out
//	ready.go       how the supervisor finds out whether a component is ready
//	health.go      … and whether it still works
//	demand.go      the first connection that starts a component, the last that stops it
//	traffic.go     which connections a granted socket has
//	resolve.go     names of grants, and what they stand for
//	append.go      files that may only grow
//	refusal.go     addresses that the kernel refused
//	log.go         the log files of the plan
//	notify.go      sd_notify(3) of workers
//	announce.go    sd_notify(3) to whoever started the broker
//	build.go       the builder of compartments
//	rebuild.go     a new compartment for one whose init died
//	renew.go       directories of this process's own root that were made again
//	reload.go      a changed plan
//	swap.go        … and the step from the old one to it
//	store.go descriptors that outlive a worker
//	stop.go        a stop, which the supervisor does, and its bounds
//	end.go         taking everything down
//	sweeper.go     who removes what is left, also of this process
//	keeper.go      who executes programs, which this process may not
//	confine.go     the walls round this process itself
//	signals.go     which of its threads gets signals, and what they ask for
package monitor

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/worker"
)

// Monitor is the monitor of one application.
type Monitor struct {
	loop       *loop
	plan       *plan.Plan
	handover   *handover.Handover
	keeper     keeper
	components []*component
	logs       []plan.Log   // by the numbers that the supervisor knows
	numbers    []*component // by the numbers that the supervisor knows: during a reload those of before
	planFD     int
	reload     *reload // under way, nil: none
	workers    map[uint32]*work
	lastWorker uint32
	listeners  map[int]int  // grant -> listening socket
	shared     map[int]bool // listening sockets that a worker has had
	supervisor *work        // nil before it runs and after it ended
	link       int          // the monitor's end of the supervisor's socket, -1
	parting    bool         // the supervisor closed the other end, and it is not known how it ended
	succession succession   // of a supervisor that was lost
	null       int          // /dev/null
	status     int          // what the process ends with
	packets    packets
	message    wire.Message     // to the supervisor
	news       [][]byte         // events for the supervisor that wait a moment
	told       time.Time        // when the last ones were sent
	due        time.Time        // when those that wait go; zero when none wait
	flush      *timer           // which sends them then
	roots      roots            // of grants, for lookups on the loop
	renewal    renewal          // of this process's root
	names      map[string]*name // of grants, by the resolver
	named      func()           // the rest of the start, until the names are known
	brokers    map[uint64]bool  // inodes of live broker sockets
	watching   *timer           // looks for stubs that were stopped, nil while there are none
	stopping   bool             // somebody asked for the end: nothing new is accepted
	stops      int              // how often
	heeded     bool             // the supervisor has begun to stop the application

	sweeperAsked bool // the keeper is to start one
}

// component is what the monitor knows of one component.
type component struct {
	*plan.Component
	index       int // in the plan; -1: of a plan that is not used yet, or not any more
	control     int // socket of the compartment's init, -1 when it is lost
	pid         int // of the init
	pidfd       int
	group       *cgroup.Group
	spares      []spare // leaves without a worker
	workers     int     // spawned and not yet gone
	queue       []*request
	waiting     int                     // calls for its workers that wait elsewhere
	inTurn      []func() bool           // connections for which there is no room elsewhere
	ready       []*work                 // prepared in advance, waiting for their descriptors
	output      [2]int                  // write ends of the log pipes: standard output and error
	written     [2]int                  // their other ends, of which the supervisor has copies
	brokered    map[int32]syscall.Errno // calls that the monitor performs; see brokeredCalls
	files       *files                  // nil where it does not perform those on files
	passed      []worker.Passed         // what every worker gets at start, without its broker socket
	brokerFD    int                     // number of the broker socket in workers, -1 without one
	environment []string
	listens     bool    // LISTEN_FDS is among it
	silence     silence // of denials
	requests    budget  // of limits.requests
	bytes       budget  // of limits.request-bytes
	records     records // of descriptors that were handed out
	stored      []stored
	doors       []*door
	held        hold          // whether the supervisor wants no workers of it
	probing     bool          // its ready command runs
	watched     []int         // copies of its listening sockets, watched for a connection
	checking    bool          // a health check of it is under way
	builds      []wire.Header // who waits for its compartment to be built again
	notifier    int           // socket of sd_notify(3), -1 without one
	readyEnd    int           // the end of its ready pipe that workers write to, -1 without one
	untold      []pipeEnd     // of its other pipes, for the supervisor alone
	gone        func()        // called when its init has ended, nil: nobody waits
}

// settled is when an application is up and its monitor has little to do.
const settled = 5 * time.Second

// Run serves until the application is over and returns the exit status.
func Run() (int, error) {
	// Back to what it is elsewhere, for this thread and those that it makes: those
	// that exist already were to have more (broker/launch, shed.go). Before the next
	// call, which makes the thread that makes further ones.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0); err != nil {
		return 125, fmt.Errorf("set the slack of timers: %w", err)
	}
	// On the main thread, so that no other goroutine gets it: one that takes
	// another user's ids (connectAs) ends its thread, and the main thread
	// cannot end.
	runtime.LockOSThread()
	if err := shield(); err != nil {
		return 125, err
	}
	// The heap is small and stays so: let it be collected early rather than
	// grow to the runtime's usual minimum.
	debug.SetGCPercent(50)
	if err := hide(); err != nil {
		return 125, err
	}
	h, p, err := handover.Read(forgetWalls)
	if err != nil {
		return 125, err
	}
	m := &Monitor{
		plan: p, planFD: handover.PlanFD, handover: h, link: -1, status: 125,
		keeper:  keeper{socket: h.Keeper, waiting: map[uint32]func(child, error){}},
		renewal: renewal{possible: h.Enclosed},
		workers: map[uint32]*work{}, listeners: map[int]int{}, shared: map[int]bool{}, brokers: map[uint64]bool{}, names: map[string]*name{},
	}
	defer m.end()
	if err := m.start(); errors.Is(err, errNotBuilt) {
		return 125, nil
	} else if err != nil {
		return 125, err
	}
	// Reading the plan took several times what is left of it.
	time.AfterFunc(settled, debug.FreeOSMemory)
	if err := m.loop.run(); err != nil {
		return 125, err
	}
	return m.status, nil
}

// start takes everything over from the launcher. The order matters: the
// descriptors become close-on-exec before anything is started that could
// inherit them; the inits are watched before they are asked for workers; the
// supervisor gets ready while the other compartments are built, and begins last,
// because it asks at once then.
func (m *Monitor) start() error {
	m.closeOnExec()
	defer m.endBuilder()
	// A compartment that is built again is the child of a builder that ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a reaper of orphans: %w", err)
	}
	var err error
	if m.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	if m.loop, err = newLoop(); err != nil {
		return err
	}
	m.roots.loop = m.loop
	for _, l := range m.handover.Listeners {
		m.listeners[l.Grant] = l.FD
	}
	for i := range m.plan.Components {
		c := newComponent(m.plan, i, m.listeners)
		c.index = i
		m.components = append(m.components, c)
	}
	m.share()
	m.numbers, m.logs = m.components, m.plan.Logs
	sweeper, err := unix.PidfdOpen(m.handover.SweeperPid, 0)
	if err == nil {
		err = m.watchSweeper(sweeper)
	}
	if err != nil {
		return fmt.Errorf("watch the sweeper: %w", err)
	}
	if err := m.watchKeeper(); err != nil {
		return fmt.Errorf("watch the keeper: %w", err)
	}
	if err := m.watchRefusals(); err != nil {
		return err
	}
	if err := m.takeOverAll(); err != nil {
		return err
	}
	// Until here they end this process at once, as they do the launcher.
	m.catchSignals()
	return m.startResolver(func() error {
		if m.supervisor == nil {
			if err := m.startSupervisor(); err != nil {
				return err
			}
		}
		m.begin()
		if err := m.openDoors(); err != nil {
			return err
		}
		return m.confine()
	})
}

// closeOnExec marks everything that came through the launcher's exec. The
// monitor itself executes nothing, but a library might.
func (m *Monitor) closeOnExec() {
	unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
}

// newComponent is a component of a plan that has no number yet: it is not the
// supervisor's to ask for before it has.
func newComponent(p *plan.Plan, index int, listeners map[int]int) *component {
	c := &component{
		Component: &p.Components[index], index: -1,
		control: -1, pidfd: -1, brokerFD: -1, notifier: -1, readyEnd: -1, output: [2]int{-1, -1}, written: [2]int{-1, -1},
		brokered: brokeredCalls(&p.Components[index]),
	}
	forgetWalls(c.Component)
	c.prepareDescriptors(p, listeners)
	return c
}

// forgetWalls takes from a component what the builder has made into walls: most
// of a plan, and of what the monitor would keep for a component that is idle.
// Rules of the calls that the monitor performs stay.
func forgetWalls(c *plan.Component) {
	var performed []plan.Rule
	for _, r := range c.Syscalls.Rules {
		if r.Action == plan.Broker {
			performed = append(performed, r)
		}
	}
	c.Root, c.Syscalls = nil, plan.Syscalls{Rules: performed}
}

// adopt starts to watch a compartment's init.
func (m *Monitor) adopt(c *component, made handover.Compartment) error {
	c.control, c.pid, c.pidfd = made.Control, made.Pid, made.Pidfd
	if c.files != nil {
		c.files.rebuilt()
	}
	// One more for a check of its health by a command.
	workers := c.Workers.Maximum + c.Workers.ReadyAhead + 1
	group, err := cgroup.Open(m.handover.Hierarchy(), m.handover.Group+"/"+c.Compartment(), c.Limits, workers)
	if err != nil {
		return err
	}
	c.group = group
	if err := unix.SetNonblock(c.control, true); err != nil {
		return err
	}
	if err := m.loop.add(c.control, unix.EPOLLIN, func(uint32) { m.initSays(c) }); err != nil {
		return err
	}
	return m.loop.add(c.pidfd, unix.EPOLLIN, func(uint32) { m.initGone(c) })
}

// forsake ends a compartment: its init ends with its socket, and the loop need
// not hear of it.
func (m *Monitor) forsake(c *component) {
	m.loop.close(c.control)
	m.loop.remove(c.pidfd)
	go func(pid, pidfd int) {
		if !await(pidfd, initPatience) {
			unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
			await(pidfd, initPatience)
		}
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
		unix.Close(pidfd)
	}(c.pid, c.pidfd)
	c.control, c.pidfd = -1, -1
	m.closeGroup(c)
}

func (m *Monitor) closeGroup(c *component) {
	m.dropSpares(c)
	if c.group != nil {
		c.group.Close()
		c.group = nil
	}
}

// initSays reads what the init of a compartment has to say.
func (m *Monitor) initSays(c *component) {
	said, err := worker.Receive(c.control)
	switch {
	case err == unix.EAGAIN:
	case err != nil:
		// An init that does not speak its protocol is not the one that
		// was put there.
		unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
	case said.Kind == worker.Closed:
		m.loop.close(c.control) // its pidfd tells the rest
		c.control = -1
	case said.Kind == worker.Spawned:
		m.spawned(said)
	}
}

// initGone is called when the init of a compartment died, and with it
// everything in its pid namespace.
func (m *Monitor) initGone(c *component) {
	var status unix.WaitStatus
	unix.Wait4(c.pid, &status, unix.WNOHANG, nil)
	m.loop.close(c.pidfd)
	m.loop.close(c.control)
	c.control, c.pidfd = -1, -1
	why := "its init ended"
	if status.Signaled() {
		why = "its init was killed by " + unix.SignalName(status.Signal())
	}
	m.refuseQueued(c, unix.EIO)
	m.tendDoors(c)
	for _, w := range m.workersOf(c) {
		m.gone(w)
	}
	m.closeGroup(c)
	if c.gone != nil {
		c.gone()
	}
	if c.index < 0 {
		return // a reload's: built and not used yet, or used no more
	}
	m.tell(wire.CompartmentLost, func(b *wire.Message) { b.U32(uint32(c.index)).String(why) })
	if c.index == m.handover.Supervisor {
		m.supervisorLost()
	}
}

func (m *Monitor) workersOf(c *component) []*work {
	var all []*work
	for _, w := range m.workers {
		if w.component == c {
			all = append(all, w)
		}
	}
	return all
}

// finish ends the monitor. Every init loses its socket and ends, which ends
// what is left in the compartments; the sweeper removes the rest. An application
// that stops because its broker is incomplete has failed, whoever ends it.
func (m *Monitor) finish(status int) {
	if m.keeper.lost {
		status = 125
	}
	m.status = status
	m.loop.done = true
}

// sendToSupervisor sends m.message, behind all news.
func (m *Monitor) sendToSupervisor(fds []int) {
	b, err := m.message.Bytes()
	if err != nil {
		return
	}
	m.flushNews()
	m.deliver(b, fds)
}

// deliver sends one packet. A supervisor that does not read for so long that
// its socket is full is broken, and nothing can be supervised without it.
func (m *Monitor) deliver(b []byte, fds []int) {
	if m.link < 0 {
		return
	}
	err := send(m.link, b, fds)
	if err == unix.EAGAIN {
		// The socket holds hundreds of messages: give the supervisor a
		// second to read them.
		poll := []unix.PollFd{{Fd: int32(m.link), Events: unix.POLLOUT}}
		unix.Poll(poll, int(time.Second/time.Millisecond))
		err = send(m.link, b, fds)
	}
	if err != nil && !errors.Is(err, unix.EPIPE) && m.supervisor != nil {
		why := "it does not read what the monitor tells it"
		if err != unix.EAGAIN {
			why = "the monitor cannot tell it what happens: " + err.Error()
			lastWords("supervisor: " + why)
		}
		m.kill(m.supervisor, why)
	}
}
