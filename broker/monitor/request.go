package monitor

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// rule is one row of the request table.
type rule struct {
	states state // in which the worker may ask
	fds    bool  // whether descriptors may come with it
	sealed bool  // whether a sealed worker may still ask
	answer func(*Monitor, *work, wire.Header, *wire.Body, []int) answer
}

// answer is what a request gets. Descriptors in it are sent and then closed,
// unless they are the monitor's own.
type answer struct {
	errno syscall.Errno
	fd    int  // -1: none
	keep  bool // fd is the monitor's own
	later bool // the answer comes from elsewhere
}

func refused(errno syscall.Errno) answer { return answer{errno: errno, fd: -1} }
func done() answer                       { return answer{fd: -1} }
func later() answer                      { return answer{fd: -1, later: true} }

// errMalformed is the answer of a request whose body is not what the format
// says: it costs the worker its life.
const errMalformed = syscall.Errno(unix.EBADMSG)

// requests is everything that a worker can ask for. What is not here does not
// exist; what is here is granted or refused by its function, by name.
var requests map[wire.Op]rule

// Filled here because the functions lead back to the table.
func init() {
	requests = map[wire.Op]rule{
		wire.Open:     {running, false, true, (*Monitor).answerOpen},
		wire.Connect:  {running, false, true, (*Monitor).answerConnect},
		wire.Listen:   {running, false, true, (*Monitor).answerListen},
		wire.Start:    {running, true, true, (*Monitor).answerStart},
		wire.Cancel:   {running, false, true, (*Monitor).answerCancel},
		wire.Ready:    {running, false, true, (*Monitor).answerReady},
		wire.Status:   {running, false, true, (*Monitor).answerStatus},
		wire.Watchdog: {running, false, true, (*Monitor).answerWatchdog},
		wire.Store:    {running, true, false, (*Monitor).answerStore},
		wire.Fetch:    {running, false, false, (*Monitor).answerFetch},
		wire.Drop:     {running, false, true, (*Monitor).answerDrop},
		wire.Accept:   {running, false, true, (*Monitor).answerAccept},
		wire.Resolved: {running, false, true, (*Monitor).answerResolved},
		wire.Seal:     {running, false, false, (*Monitor).answerSeal},
	}
}

// workerAsks reads and answers one request. One for each event: a worker that
// floods its socket gets its turn, and no more than that.
func (m *Monitor) workerAsks(w *work) {
	if m.spent(w, w.broker) {
		return
	}
	packet, fds, err := m.packets.receive(w.broker)
	if err == unix.EAGAIN {
		return
	}
	if err == nil && len(packet) == 0 {
		m.loop.close(w.broker) // it closed its end: it asks no more
		w.broker = -1
		return
	}
	w.component.bytes.take(len(packet))
	m.answerPacket(w, packet, fds, err)
}

// answerPacket answers what stands in one packet, if it could be received. The
// descriptors with it are used up.
func (m *Monitor) answerPacket(w *work, packet []byte, fds []int, err error) {
	var h wire.Header
	var body wire.Body
	if err == nil {
		h, body, err = wire.Parse(packet, len(fds))
	}
	if err == nil && h.Kind != wire.Request {
		err = wire.ErrHeader
	}
	if err != nil {
		closeAll(fds)
		m.kill(w, "it sent the monitor a malformed message: "+err.Error())
		return
	}
	row, known := requests[h.Op]
	if !known || w.state&row.states == 0 || w.sealed && !row.sealed || len(fds) > 0 && !row.fds {
		closeAll(fds)
		m.reply(w, h.Op, h.ID, unix.EPERM, nil)
		m.deny(w, denial{request: h.Op, errno: unix.EPERM, object: "request " + opName(h.Op)})
		return
	}
	m.answer(w, h, row.answer(m, w, h, &body, fds))
}

// answer ends a request.
func (m *Monitor) answer(w *work, h wire.Header, a answer) {
	switch {
	case a.errno == errMalformed:
		m.kill(w, "it sent the monitor a malformed message")
	case a.later:
	case a.errno != 0:
		m.reply(w, h.Op, h.ID, a.errno, nil)
	case a.fd >= 0:
		m.reply(w, h.Op, h.ID, 0, nil, a.fd)
		if !a.keep {
			unix.Close(a.fd)
		}
	default:
		m.reply(w, h.Op, h.ID, 0, nil)
	}
}

// granted finds a grant of the worker's component by name: one that is of the
// kind and that the worker has not given up.
func (m *Monitor) granted(w *work, name []byte, kinds ...plan.GrantKind) (int, *plan.Grant, syscall.Errno) {
	for _, b := range w.component.Grants {
		g := &m.plan.Grants[b.Grant]
		if g.Name != string(name) {
			continue
		}
		if w.dropped[b.Grant] {
			return 0, nil, unix.EPERM
		}
		for _, k := range kinds {
			if g.Kind == k {
				return b.Grant, g, 0
			}
		}
		return 0, nil, unix.EINVAL
	}
	return 0, nil, unix.ENOENT
}

// kept are the grants of some kinds that a worker's component has and the worker
// has not given up, with their numbers.
func (m *Monitor) kept(w *work, kinds ...plan.GrantKind) iter.Seq2[int, *plan.Grant] {
	return func(yield func(int, *plan.Grant) bool) {
		for _, b := range w.component.Grants {
			g := &m.plan.Grants[b.Grant]
			if !w.dropped[b.Grant] && slices.Contains(kinds, g.Kind) && !yield(b.Grant, g) {
				return
			}
		}
	}
}

func (m *Monitor) answerReady(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	return m.pass(w, h.Op, b, false)
}

func (m *Monitor) answerWatchdog(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	return m.pass(w, h.Op, b, false)
}

func (m *Monitor) answerStatus(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	return m.pass(w, h.Op, b, true)
}

// pass hands a worker's word to the supervisor, bounded.
func (m *Monitor) pass(w *work, op wire.Op, b *wire.Body, text bool) answer {
	var said []byte
	if text {
		said = b.Bytes()
	}
	if b.End() != nil {
		return refused(errMalformed)
	}
	const most = 256
	s := string(said[:min(len(said), most)])
	m.tell(wire.WorkerSays, func(b *wire.Message) {
		b.U32(w.id).U32(uint32(w.component.index)).U32(uint32(op)).String(s)
	})
	return done()
}

// answerDrop gives a grant up for good.
func (m *Monitor) answerDrop(w *work, _ wire.Header, b *wire.Body, _ []int) answer {
	name := b.Bytes()
	if b.End() != nil {
		return refused(errMalformed)
	}
	for _, binding := range w.component.Grants {
		if m.plan.Grants[binding.Grant].Name == string(name) {
			m.drop(w, binding.Grant)
			return done()
		}
	}
	return refused(unix.ENOENT)
}

func (m *Monitor) drop(w *work, grant int) {
	if w.dropped == nil {
		w.dropped = map[int]bool{}
	}
	w.dropped[grant] = true
}

// answerSeal gives up every grant but the named ones, and the right to seal.
func (m *Monitor) answerSeal(w *work, _ wire.Header, b *wire.Body, _ []int) answer {
	keep := map[string]bool{}
	for range b.U16() {
		name := b.Bytes()
		if name == nil {
			break // short: End says so
		}
		keep[string(name)] = true
	}
	if b.End() != nil {
		return refused(errMalformed)
	}
	for _, binding := range w.component.Grants {
		if !keep[m.plan.Grants[binding.Grant].Name] {
			m.drop(w, binding.Grant)
		}
	}
	w.sealed = true
	return done()
}

// errnoOf is the errno in an error, EIO where there is none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// stepOf is what was tried, for those who hear the errno of an error beside it
// and say that behind the step.
func stepOf(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+errnoOf(err).Error())
}

func errnoOrZero(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return errnoOf(err)
}

func inode(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

var opNames = map[wire.Op]string{
	wire.Open: "open", wire.Connect: "connect", wire.Listen: "listen", wire.Start: "start",
	wire.Cancel: "cancel", wire.Ready: "ready", wire.Status: "status", wire.Watchdog: "watchdog",
	wire.Store: "store", wire.Fetch: "fetch", wire.Drop: "drop", wire.Seal: "seal", wire.Accept: "accept", wire.Resolved: "resolved",
}

func opName(op wire.Op) string {
	if name, ok := opNames[op]; ok {
		return name
	}
	return "unknown"
}
