package supervisor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/test/transcript"
)

// script plays the monitor inside a synctest bubble, where hours pass at
// once and everything that a test does is over when wait returns.
type script struct {
	t       *testing.T
	app     *Supervisor
	next    uint32
	id      uint32
	mu      sync.Mutex // for the race detector: a timer's tick orders nothing
	log     []string
	workers map[string]uint32
	names   map[uint32]string
	alive   map[uint32]bool
	notes   transcript.Transcript
	lines   transcript.Transcript
	status  int // of Finish, -1 before

	refuse  map[string]syscall.Errno // programs that cannot be executed
	hung    map[string]bool          // components whose start is never heard of
	late    map[string]bool          // components whose start is heard of when it comes
	coming  []workerStarted          // those starts
	deaf    map[string]bool          // components that only SIGKILL ends
	probes  map[string]int           // how often Probe fails
	unbuilt map[string]int           // how often Rebuild fails
	lost    map[string]bool          // components that have no compartment

	busy       map[string]bool // components with a connection
	checks     map[string]int  // how often Check fails
	announced  []uint32
	refuseLogs syscall.Errno            // the answer to OpenLog
	tidied     map[string]syscall.Errno // the answer to Tidy
	untidied   uint32                   // the last Tidy that got none
	watchdog   uint32                   // the answer to Announce
	stopped    time.Duration            // for how long no answer comes
}

// play runs a test of an application in a bubble, up to its Finish.
func play(t *testing.T, p *plan.Plan, test func(m *script)) {
	t.Helper()
	prepared(t, p, func(*script) {}, test)
}

func prepared(t *testing.T, p *plan.Plan, prepare, test func(m *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &script{
			t: t, status: -1, workers: make(map[string]uint32), names: make(map[uint32]string),
			alive: make(map[uint32]bool), refuse: make(map[string]syscall.Errno), hung: make(map[string]bool), late: make(map[string]bool), deaf: make(map[string]bool),
			probes: make(map[string]int), unbuilt: make(map[string]int), checks: make(map[string]int), busy: make(map[string]bool), lost: make(map[string]bool), tidied: make(map[string]syscall.Errno),
		}
		names := make([]string, len(p.Components))
		for i := range p.Components {
			names[i] = p.Components[i].Name
		}
		m.app = newSupervisor(p, m, newOutput(&m.lines, &m.notes, names))
		m.app.random = func() float64 { return 0 }
		prepare(m)
		go m.app.loop()
		synctest.Wait()
		test(m)
		if t.Failed() {
			t.Logf("notes:\n%s", m.notes.String())
		}
		m.stop()
		m.pass(stopEcho)
		m.stop()
		time.Sleep(time.Minute)
		if m.status < 0 {
			t.Errorf("the application did not end; asked: %q\nnotes:\n%s", m.log, m.notes.String())
			m.app.post(monitorGone{io.EOF})
		}
		synctest.Wait()
	})
}

// request is what the supervisor asks; it is called in its loop.
func (m *script) request(op wire.Op, fields ...uint32) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id++
	id, status, value := m.id, syscall.Errno(0), uint32(0)
	var then any
	switch op {
	case wire.StartWorker:
		name := m.app.plan.Components[fields[0]].Name
		m.log = append(m.log, "start "+name)
		m.next++
		worker := m.next
		switch errno, failed := m.refuse[name]; {
		case m.lost[name]:
			status = unix.EIO
		case m.comes(name): // one at a time
			status = unix.EBUSY
		case failed:
			then = workerFailed{worker: worker, component: fields[0], errno: errno, step: executeStep}
		case !m.hung[name]:
			started := workerStarted{worker: worker, component: fields[0], pid: 1000 + worker}
			m.workers[name], m.names[worker] = worker, name
			if m.late[name] {
				m.coming = append(m.coming, started)
				break
			}
			m.alive[worker] = true
			then = started
		}
	case wire.SignalWorker:
		name, signal := m.names[fields[0]], syscall.Signal(fields[1])
		m.log = append(m.log, signalName(signal)+" "+name)
		if !m.deaf[name] || signal == unix.SIGKILL {
			delete(m.alive, fields[0])
			then = workerEnded{worker: fields[0], component: m.index(name), how: wire.Signaled, code: uint32(signal)}
		}
	case wire.Probe:
		name := m.app.plan.Components[fields[0]].Name
		if m.probes[name]--; m.probes[name] >= 0 {
			status = unix.ECONNREFUSED
		}
	case wire.Check:
		name := m.app.plan.Components[fields[0]].Name
		m.checks[name]--
		if m.checks[name] >= 0 {
			status = unix.ETIMEDOUT
		}
	case wire.Announce:
		m.announced = append(m.announced, fields[0])
		value = m.watchdog
	case wire.Watch:
		m.log = append(m.log, fmt.Sprintf("watch %s", m.app.plan.Components[fields[0]].Name))
	case wire.Retire:
		name, signal := m.names[fields[0]], syscall.Signal(fields[1])
		switch {
		case m.busy[name]:
			status = unix.EBUSY
		case signal != 0:
			m.log = append(m.log, "retire "+name)
			delete(m.alive, fields[0])
			then = workerEnded{worker: fields[0], component: m.index(name), how: wire.Signaled, code: uint32(signal)}
		}
	case wire.Freeze:
		m.log = append(m.log, []string{"thaw ", "freeze "}[fields[1]]+m.names[fields[0]])
	case wire.Tidy:
		name := m.app.plan.Components[fields[0]].Name
		m.log = append(m.log, fmt.Sprintf("tidy %s %d %d", name, fields[1], fields[2]))
		status = m.tidied[name]
		if m.hung[name] {
			m.untidied = id
			return id
		}
	case wire.EndTidy:
		m.log = append(m.log, "end tidy "+m.app.plan.Components[fields[0]].Name)
		then = reply{id: m.untidied, status: unix.EIO, reason: "its finish command did not end"}
	case wire.OpenLog:
		m.log = append(m.log, fmt.Sprintf("log %d %d", fields[0], fields[1]))
		status = m.refuseLogs
	case wire.Finish:
		m.status = int(fields[0])
	case wire.Rebuild:
		name := m.app.plan.Components[fields[0]].Name
		m.log = append(m.log, "rebuild "+name)
		if m.unbuilt[name]--; m.unbuilt[name] >= 0 {
			status = unix.EMFILE
		} else {
			m.lost[name] = false
		}
	default:
		m.log = append(m.log, fmt.Sprintf("%d %s", op, m.app.plan.Components[fields[0]].Name))
	}
	stopped := m.stopped
	go func() {
		time.Sleep(stopped)
		r := reply{id: id, status: status, value: value}
		if status != 0 {
			r.reason = status.Error()
		}
		m.app.post(r)
		if then != nil {
			m.app.post(then)
		}
	}()
	return id
}

// change changes what the monitor is like, while the supervisor runs.
func (m *script) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *script) index(name string) uint32 {
	for i := range m.app.plan.Components {
		if m.app.plan.Components[i].Name == name {
			return uint32(i)
		}
	}
	m.t.Fatalf("no component %s", name)
	return 0
}

// tell is an event of the monitor; whatever it leads to without time passing
// is over on return.
func (m *script) tell(event any) {
	m.app.post(event)
	synctest.Wait()
}

// comes says whether a component has a start that is late.
func (m *script) comes(name string) bool {
	return slices.ContainsFunc(m.coming, func(e workerStarted) bool { return m.names[e.worker] == name })
}

// come lets the late starts of a component be heard of, as what they came to.
func (m *script) come(name string, news func(workerStarted) any) {
	m.mu.Lock()
	var told []any
	m.coming = slices.DeleteFunc(m.coming, func(e workerStarted) bool {
		if m.names[e.worker] != name {
			return false
		}
		told = append(told, news(e))
		if _, runs := told[len(told)-1].(workerStarted); runs {
			m.alive[e.worker] = true
		}
		return true
	})
	m.mu.Unlock()
	for _, e := range told {
		m.tell(e)
	}
}

func runs(e workerStarted) any { return e }

func (m *script) exit(name string, code uint32) { m.end(m.workers[name], wire.Exited, code) }

func (m *script) crash(name string) {
	m.end(m.workers[name], wire.Signaled, uint32(unix.SIGSEGV))
}

// end ends a worker.
func (m *script) end(worker, how, code uint32) {
	m.mu.Lock()
	delete(m.alive, worker)
	component := m.index(m.names[worker])
	m.mu.Unlock()
	m.tell(workerEnded{worker: worker, component: component, how: how, code: code})
}

func (m *script) stop() { m.tell(stopAsked{signal: unix.SIGTERM}) }

func (m *script) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// did returns what was asked since the last time.
func (m *script) did() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.log
	m.log = nil
	return log
}

func (m *script) expect(want ...string) {
	m.t.Helper()
	if got := m.did(); !slices.Equal(got, want) {
		m.t.Errorf("asked %q, want %q", got, want)
	}
}

func (m *script) ask(r control.Request) answer {
	a := ask{request: r, answer: make(chan answer, 1)}
	m.app.post(a)
	synctest.Wait()
	select {
	case given := <-a.answer:
		return given
	default:
		return answer{reply: control.Reply{Error: "nobody answers"}}
	}
}

func (m *script) refused(r control.Request, text string) {
	m.t.Helper()
	if a := m.ask(r); !strings.Contains(a.reply.Error, text) {
		m.t.Errorf("%s %s: answer %+v, want an error with %q", r.Verb, r.Component, a.reply, text)
	}
}

func (m *script) component(name string) control.Component {
	m.t.Helper()
	s := m.ask(control.Request{Verb: control.AskStatus}).reply.Status
	if s == nil {
		m.t.Fatal("no status")
	}
	return s.Components[m.index(name)]
}

func (m *script) state(name string, want control.State) {
	m.t.Helper()
	if c := m.component(name); c.State != want {
		m.t.Errorf("%s is %s (%s), want %s", name, c.State, c.Cause, want)
	}
}

func (m *script) noted(text string) {
	m.t.Helper()
	if !strings.Contains(m.notes.String(), text) {
		m.t.Errorf("no note with %q", text)
	}
}

func (m *script) ends(status int) {
	m.t.Helper()
	m.pass(time.Minute)
	if m.status != status {
		m.t.Errorf("the application's status is %d, want %d", m.status, status)
	}
}
