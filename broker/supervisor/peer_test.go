package supervisor

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/test/transcript"
)

// peer plays the monitor on the other end of a real socketpair: the packets
// are those that the monitor writes.
type peer struct {
	t    testing.TB
	fd   int
	plan *plan.Plan
	app  *Supervisor // nil when it is another process
	mu   sync.Mutex
	next uint32
	// started are the workers that run, by component name.
	workers  map[string]uint32
	log      []string
	finished chan int
	ended    chan struct{}
	lines    transcript.Transcript
	notes    transcript.Transcript
	pipes    map[string]*os.File // write ends, "web.1"
	// onStart may take over what happens to a worker that is asked for.
	onStart func(p *peer, component string, worker uint32) (handled bool)
	names   map[uint32]string
}

func with(name string, change func(*plan.Component)) plan.Component {
	c := plan.Component{
		Name: name, Program: "/bin/" + name, Start: plan.WithApplication, Output: plan.OutputLog,
		Life: plan.Life{
			Restart: plan.RestartOnFailure, Delay: time.Millisecond, DelayMaximum: 10 * time.Millisecond,
			Ready:      plan.Ready{Kind: plan.ReadyAtOnce, Timeout: 5 * time.Second},
			StopSignal: int32(unix.SIGTERM), StopTimeout: time.Second,
		},
	}
	if change != nil {
		change(&c)
	}
	return c
}

func application(components ...plan.Component) *plan.Plan {
	p := &plan.Plan{
		Application: "test", Source: "test.yaml", Components: components,
		Supervision: plan.Group{Strategy: plan.OneForOne, Restarts: 5, Within: 10 * time.Second},
	}
	for _, c := range components {
		p.Supervision.Members = append(p.Supervision.Members, c.Name)
	}
	return p
}

// playOn makes a peer of one end of a socketpair.
func playOn(t testing.TB, p *plan.Plan, fd int) *peer {
	return &peer{
		t: t, plan: p, fd: fd, workers: make(map[string]uint32), finished: make(chan int, 1), ended: make(chan struct{}),
		pipes: make(map[string]*os.File), names: make(map[uint32]string),
	}
}

func newPeer(t testing.TB, p *plan.Plan) *peer {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := playOn(t, p, pair[0])
	l, err := newLink(pair[1], len(p.Components))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(p.Components))
	for i := range p.Components {
		names[i] = p.Components[i].Name
	}
	m.app = newSupervisor(p, l, newOutput(&m.lines, &m.notes, names))
	m.app.random = func() float64 { return 0 }
	t.Cleanup(func() {
		unix.Shutdown(m.fd, unix.SHUT_RDWR)
		<-m.ended
		for _, f := range m.pipes {
			f.Close()
		}
	})
	return m
}

// run starts the supervisor with a control and a status socket.
func (m *peer) run(servers ...*server) {
	go m.serve()
	go func() {
		defer close(m.ended)
		m.app.serve(m.app.monitor.(*link), servers...)
	}()
}

func (m *peer) send(h wire.Header, build func(*wire.Message), fds ...int) {
	var w wire.Message
	h.FDs = len(fds)
	w.Begin(h)
	if build != nil {
		build(&w)
	}
	b, err := w.Bytes()
	if err != nil {
		panic(err)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	unix.Sendmsg(m.fd, b, oob, nil, unix.MSG_NOSIGNAL)
}

func (m *peer) event(op wire.Op, build func(*wire.Message), fds ...int) {
	m.send(wire.Header{Kind: wire.Event, Op: op}, build, fds...)
}

func (m *peer) reply(h wire.Header, status syscall.Errno, build func(*wire.Message)) {
	switch {
	case build != nil:
	case status == 0:
		build = func(w *wire.Message) { w.U32(0) }
	default:
		build = func(w *wire.Message) { w.String(status.Error()) }
	}
	m.send(wire.Header{Kind: wire.Reply, Op: h.Op, ID: h.ID, Status: uint32(status)}, build)
}

func (m *peer) note(format string, values ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf(format, values...))
}

// did returns what was asked of the peer so far.
func (m *peer) did() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.log...)
}

func (m *peer) index(name string) uint32 {
	for i := range m.plan.Components {
		if m.plan.Components[i].Name == name {
			return uint32(i)
		}
	}
	panic("no component " + name)
}

func (m *peer) serve() {
	buffer := make([]byte, wire.MaximumSize)
	for {
		n, err := unix.Read(m.fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			unix.Close(m.fd)
			return
		}
		h, b, err := wire.Parse(buffer[:n], 0)
		if err != nil {
			m.t.Errorf("the supervisor sent a malformed packet: %v", err)
			return
		}
		switch h.Op {
		case wire.StartWorker:
			name := m.plan.Components[b.U32()].Name
			m.mu.Lock()
			m.next++
			worker := m.next
			m.names[worker] = name
			m.mu.Unlock()
			m.note("start %s", name)
			m.reply(h, 0, func(w *wire.Message) { w.U32(worker) })
			if m.onStart == nil || !m.onStart(m, name, worker) {
				m.workerStarted(name, worker, 0)
			}
		case wire.SignalWorker:
			worker, signal, _ := b.U32(), b.U32(), b.U32()
			m.mu.Lock()
			name := m.names[worker]
			m.mu.Unlock()
			m.note("%s %s", signalName(syscall.Signal(signal)), name)
			m.reply(h, 0, nil)
			m.workerEnded(name, worker, wire.Signaled, signal)
		case wire.Announce:
			b.U32()
			m.reply(h, 0, nil)
		case wire.Finish:
			m.finished <- int(b.U32())
			m.reply(h, 0, nil)
		default:
			m.t.Errorf("the supervisor sent operation %d", h.Op)
		}
		if err := b.End(); err != nil {
			m.t.Errorf("operation %d: %v", h.Op, err)
		}
	}
}

func (m *peer) workerStarted(name string, worker, by uint32) {
	m.mu.Lock()
	m.workers[name] = worker
	m.names[worker] = name
	m.mu.Unlock()
	m.event(wire.WorkerStarted, func(w *wire.Message) { w.U32(worker).U32(m.index(name)).U32(1000 + worker).U32(by) })
}

func (m *peer) workerEnded(name string, worker, how, code uint32) {
	m.event(wire.WorkerEnded, func(w *wire.Message) {
		w.U32(worker).U32(m.index(name)).U32(how).U32(code).U64(1000).U64(1 << 20).String("")
	})
}

// end ends the present worker of a component.
func (m *peer) end(name string, how, code uint32) {
	m.mu.Lock()
	worker := m.workers[name]
	m.mu.Unlock()
	m.workerEnded(name, worker, how, code)
}

func (m *peer) stop() {
	m.event(wire.StopAsked, func(w *wire.Message) { w.U32(uint32(unix.SIGTERM)).U32(0) })
}

// pipe makes an output pipe and returns its write end.
func (m *peer) pipe(name string, stream uint32) *os.File {
	m.t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		m.t.Fatal(err)
	}
	m.event(wire.OutputPipe, func(w *wire.Message) { w.U32(m.index(name)).U32(stream) }, p[0])
	unix.Close(p[0])
	f := os.NewFile(uintptr(p[1]), "pipe")
	m.pipes[fmt.Sprintf("%s.%d", name, stream)] = f
	return f
}

// do asks as a client of control does.
func (m *peer) do(r control.Request) answer {
	a := ask{request: r, answer: make(chan answer, 1)}
	m.app.post(a)
	select {
	case given := <-a.answer:
		return given
	case <-m.app.over:
		return answer{reply: control.Reply{Error: "over"}}
	}
}

func (m *peer) status() *control.Status {
	a := m.do(control.Request{Verb: control.AskStatus})
	if a.reply.Status == nil {
		m.t.Fatalf("status: %s", a.reply.Error)
	}
	return a.reply.Status
}

func (m *peer) component(name string) control.Component {
	return m.status().Components[m.index(name)]
}

// patience bounds what must come about by itself; nothing else waits for it.
const patience = time.Minute

// until waits for a condition; what says what it is.
func (m *peer) until(what string, is func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if is() {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s did not come about\nasked: %s\nnotes:\n%s", what, strings.Join(m.did(), ", "), m.notes.String())
		}
	}
}

func (m *peer) untilState(name string, state control.State) {
	m.t.Helper()
	m.until(name+" "+string(state), func() bool { return m.component(name).State == state })
}

func (m *peer) finish() int {
	m.t.Helper()
	select {
	case status := <-m.finished:
		return status
	case <-time.After(patience):
		m.t.Fatalf("no Finish\nasked: %s\nnotes:\n%s", strings.Join(m.did(), ", "), m.notes.String())
		return 0
	}
}
