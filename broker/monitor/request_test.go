package monitor

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// talker is a worker's end of a broker socket, and the monitor at the other,
// without a compartment behind it.
type talker struct {
	testing.TB
	m      *Monitor
	w      *work
	socket int
}

func newTalker(t testing.TB) *talker {
	t.Helper()
	granted, _ := place(t)
	ownDescriptors() // opened once for all
	p := &plan.Plan{
		Application: "test",
		Grants: []plan.Grant{
			{Name: "store", Kind: plan.GrantDirectory, Path: granted, Access: plan.Read | plan.Write},
			{Name: "other", Kind: plan.GrantDirectory, Path: granted, Access: plan.Read},
			{Name: "port", Kind: plan.GrantListen, Network: "tcp", Address: "127.0.0.1", Port: 1},
			{Name: "foreign", Kind: plan.GrantDirectory, Path: "/", Access: plan.Read},
		},
		Components: []plan.Component{
			{Name: "web", Grants: []plan.Binding{{Grant: 0, Number: -1}, {Grant: 1, Number: -1}, {Grant: 2, Number: -1}}, MayStart: []string{"lost"}},
			{Name: "lost", Start: plan.PerRequest},
		},
	}
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	m := &Monitor{plan: p, loop: l, roots: roots{loop: l}, link: -1, workers: map[uint32]*work{}, listeners: map[int]int{}, shared: map[int]bool{}, brokers: map[uint64]bool{}}
	for i := range p.Components {
		m.components = append(m.components, &component{Component: &p.Components[i], index: i, control: -1, brokerFD: -1})
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &work{id: 1, component: m.components[0], state: running, socket: -1, init: -1, program: -1, listener: -1, broker: pair[0]}
	m.workers[1] = w
	m.brokers[inode(pair[1])] = true
	t.Cleanup(func() {
		for _, fd := range []int{w.broker, pair[1], l.epoll, l.wake} {
			unix.Close(fd)
		}
	})
	return &talker{t, m, w, pair[1]}
}

// send sends a packet and lets the monitor take it.
func (t *talker) send(packet []byte, fds ...int) {
	t.Helper()
	if err := unix.Sendmsg(t.socket, packet, unix.UnixRights(fds...), nil, 0); err != nil {
		t.Fatal(err)
	}
	t.m.workerAsks(t.w)
}

// ask makes a request and returns the status and the descriptors of its reply.
func (t *talker) ask(op wire.Op, body func(*wire.Message), fds ...int) (syscall.Errno, []int) {
	t.Helper()
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: op, ID: 7, FDs: len(fds)})
	body(&m)
	packet, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	t.send(packet, fds...)
	b, control := make([]byte, wire.MaximumSize), make([]byte, 1024)
	n, cn, _, _, err := unix.Recvmsg(t.socket, b, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err == unix.EAGAIN && t.w.component.waiting > 0 {
		// The kernel could not say from memory alone: it is done elsewhere.
		t.posted()
		n, cn, _, _, err = unix.Recvmsg(t.socket, b, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		t.Fatalf("%s is not answered: %v", opName(op), err)
	}
	var got []int
	if cn > 0 {
		messages, err := unix.ParseSocketControlMessage(control[:cn])
		if err != nil {
			t.Fatal(err)
		}
		if got, err = unix.ParseUnixRights(&messages[0]); err != nil {
			t.Fatal(err)
		}
	}
	h, _, err := wire.Parse(b[:n], len(got))
	if err != nil || h.Kind != wire.Reply || h.ID != 7 || h.Op != op {
		t.Fatalf("the answer to %s is %+v, %v", opName(op), h, err)
	}
	return syscall.Errno(h.Status), got
}

func open(grant, path string) func(*wire.Message) {
	return func(b *wire.Message) { b.U32(unix.O_RDONLY).U32(0).String(grant).String(path) }
}

func start(component string, numbers ...uint16) func(*wire.Message) {
	return func(b *wire.Message) {
		b.String(component).U16(uint16(len(numbers)))
		for _, n := range numbers {
			b.U16(n)
		}
	}
}

func text(s string) func(*wire.Message) { return func(b *wire.Message) { b.String(s) } }
func nothing(*wire.Message)             {}

func TestRequests(t *testing.T) {
	directory, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	path, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(path)
	k := newTalker(t)
	for _, c := range []struct {
		name  string
		op    wire.Op
		body  func(*wire.Message)
		fds   []int
		want  syscall.Errno
		gives int
	}{
		{"a granted file", wire.Open, open("store", "file"), nil, 0, 1},
		{"another component's grant", wire.Open, open("foreign", "etc/passwd"), nil, unix.ENOENT, 0},
		{"no grant", wire.Open, open("nothing", "x"), nil, unix.ENOENT, 0},
		{"a grant of another kind", wire.Open, open("port", ""), nil, unix.EINVAL, 0},
		{"connecting through a directory", wire.Connect, text("store"), nil, unix.EINVAL, 0},
		{"a component that it may not start", wire.Start, start("web"), nil, unix.EPERM, 0},
		{"a component that is not there", wire.Start, start("nobody"), nil, unix.EPERM, 0},
		{"a component whose compartment is lost", wire.Start, start("lost"), nil, unix.EIO, 0},
		{"a worker that it did not start", wire.Cancel, func(b *wire.Message) { b.U32(1) }, nil, unix.ESRCH, 0},
		{"ready", wire.Ready, nothing, nil, 0, 0},
		{"ready with a descriptor", wire.Ready, nothing, []int{0}, unix.EPERM, 0},
		{"status", wire.Status, text("fine"), nil, 0, 0},
		{"an operation of the supervisor's", wire.StartWorker, func(b *wire.Message) { b.U32(1) }, nil, unix.EPERM, 0},
		{"an operation that nobody knows", 999, nothing, nil, unix.EPERM, 0},
		{"storing a directory", wire.Store, text("d"), []int{int(directory.Fd())}, unix.EPERM, 0},
		{"storing a path", wire.Store, text("p"), []int{path}, unix.EPERM, 0},
		{"storing the broker socket", wire.Store, text("b"), []int{k.socket}, unix.EPERM, 0},
		{"storing a file", wire.Store, text("f"), []int{0}, 0, 0},
		{"fetching it", wire.Fetch, text("f"), nil, 0, 1},
		{"fetching nothing", wire.Fetch, text("g"), nil, unix.ENOENT, 0},
		{"dropping a grant", wire.Drop, text("other"), nil, 0, 0},
		{"using it afterwards", wire.Open, open("other", "file"), nil, unix.EPERM, 0},
		{"sealing", wire.Seal, func(b *wire.Message) { b.U16(1).String("store") }, nil, 0, 0},
		{"what the seal keeps", wire.Open, open("store", "file"), nil, 0, 1},
		{"what the seal does not keep", wire.Listen, text("port"), nil, unix.EPERM, 0},
		{"sealing once more", wire.Seal, func(b *wire.Message) { b.U16(0) }, nil, unix.EPERM, 0},
	} {
		errno, got := k.ask(c.op, c.body, c.fds...)
		if errno != c.want || len(got) != c.gives {
			t.Errorf("%s: %v and %d descriptors, want %v and %d", c.name, errno, len(got), c.want, c.gives)
		}
		closeAll(got)
		if k.w.state == ending {
			t.Fatalf("%s cost the worker its life: %s", c.name, k.w.why)
		}
	}
}

// What does not keep to the format costs the worker its life, and the monitor
// nothing: no descriptor stays.
func TestMalformedRequests(t *testing.T) {
	var m wire.Message
	request := func(h wire.Header, body func(*wire.Message)) []byte {
		h.Kind = wire.Request
		m.Begin(h)
		body(&m)
		b, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(b)
	}
	reply := request(wire.Header{Op: wire.Ready}, nothing)
	reply[1] = byte(wire.Reply)
	many := make([]int, 253)
	for _, c := range []struct {
		name   string
		packet []byte
		fds    []int
	}{
		{"one byte", []byte{1}, nil},
		{"more than a packet", make([]byte, wire.MaximumSize+1), nil},
		{"a reply", reply, nil},
		{"descriptors that are not announced", request(wire.Header{Op: wire.Ready}, nothing), []int{0, 1}},
		{"253 descriptors", request(wire.Header{Op: wire.Start, FDs: 253}, start("lost")), many},
		{"17 descriptors", request(wire.Header{Op: wire.Start, FDs: 17}, start("lost")), many[:17]},
		{"fewer numbers than descriptors", request(wire.Header{Op: wire.Start, FDs: 2}, start("lost", 0)), []int{0, 1}},
		{"more numbers than descriptors", request(wire.Header{Op: wire.Start, FDs: 1}, start("lost", 0, 1)), []int{0}},
		{"half a body", request(wire.Header{Op: wire.Open}, func(b *wire.Message) { b.U32(0) }), nil},
		{"bytes behind the body", request(wire.Header{Op: wire.Ready}, func(b *wire.Message) { b.U32(0) }), nil},
		{"a zero byte in a name", request(wire.Header{Op: wire.Open}, open("st\x00ore", "file")), nil},
		{"a seal with names missing", request(wire.Header{Op: wire.Seal}, func(b *wire.Message) { b.U16(60000) }), nil},
	} {
		k := newTalker(t)
		before := k.descriptors()
		k.send(c.packet, c.fds...)
		if k.w.state != ending {
			t.Errorf("%s: the worker lives on", c.name)
		}
		if after := k.descriptors(); after != before {
			t.Errorf("%s: %d descriptors are open, %d were before", c.name, after, before)
		}
	}
}

func TestManyGrantsLeaveNothing(t *testing.T) {
	k := newTalker(t)
	many := 100_000
	if testing.Short() { // minutes, where the machine is emulated
		many = 5_000
	}
	before := k.descriptors()
	for range many {
		errno, got := k.ask(wire.Open, open("store", "file"))
		if errno != 0 {
			t.Fatal(errno)
		}
		closeAll(got)
	}
	if after := k.descriptors(); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// descriptors counts what is open, but for what the loop holds for a second.
func (t *talker) descriptors() int {
	t.Helper()
	t.m.roots.forget()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// FuzzRequest gives the monitor whatever packets, with descriptors: it must
// neither fall over nor keep any. One monitor takes them all, because making
// one costs more than a thousand requests; what a packet does to its worker is
// undone. The way through a socket is left to TestMalformedRequests.
func FuzzRequest(f *testing.F) {
	var m wire.Message
	for op := range wire.Resolved + 2 {
		for _, body := range []func(*wire.Message){nothing, text("store"), open("store", "file"), start("lost", 0)} {
			for fds := range 2 {
				m.Begin(wire.Header{Kind: wire.Request, Op: op, ID: 1, FDs: fds})
				body(&m)
				b, err := m.Bytes()
				if err != nil {
					f.Fatal(err)
				}
				f.Add(bytes.Clone(b), byte(fds), false)
			}
		}
	}
	k := newTalker(f)
	unix.Close(k.w.broker)
	k.w.broker = -1                       // nobody is there to read answers
	k.m.plan.Grants[0].Access = plan.Read // nothing is made either
	fresh := *k.w
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	f.Fuzz(func(t *testing.T, packet []byte, fds byte, sealed bool) {
		if len(packet) > wire.MaximumSize || int(fds) > wire.MaximumFDs {
			return // receive refuses it
		}
		k.TB = t // whose time it is now
		free := duplicate(t, null)
		unix.Close(free)
		var passed []int
		for range fds {
			passed = append(passed, duplicate(t, null))
		}
		*k.w = fresh
		k.w.sealed = sealed
		k.m.answerPacket(k.w, packet, passed, nil)
		for k.w.component.waiting > 0 {
			k.posted()
		}
		k.m.roots.forget()
		for _, s := range k.w.component.stored {
			unix.Close(s.fd)
		}
		k.w.component.stored = nil
		// A descriptor that stays open takes the lowest number.
		now := duplicate(t, null)
		unix.Close(now)
		if now > free {
			t.Fatalf("the lowest free descriptor is %d, and was %d", now, free)
		}
	})
}

// duplicate gives a file one more descriptor, the lowest that is free.
func duplicate(t *testing.T, file *os.File) int {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// However many different files a worker asks for, one deadline waits for the
// time to tell of them, and one for the directory that is held.
func TestRecordsWaitTogether(t *testing.T) {
	k := newTalker(t)
	for i := range 100 {
		errno, got := k.ask(wire.Open, open("store", []string{"file", "inside"}[i%2]))
		if errno != 0 {
			t.Fatal(errno)
		}
		closeAll(got)
	}
	if n := len(k.m.loop.timers); n > 2 {
		t.Errorf("%d deadlines wait", n)
	}
	k.m.roots.forget()
}
