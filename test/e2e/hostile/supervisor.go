package hostile

import (
	"encoding/binary"
	"fmt"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// Supervisor is what runs in the supervisor's place when that was taken over:
// with its walls, its descriptors and its socket to the monitor. The name of
// the application says what it does.
func Supervisor() int {
	signal.Ignore(unix.SIGTERM, unix.SIGINT)
	b, err := handover.ReadFile(5, plan.MaximumSize)
	if err != nil {
		say("read the plan", err)
		return 1
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		say("read the plan", err)
		return 1
	}
	_, what, _ := strings.Cut(p.Application, "takeover-")
	switch {
	case what == "grabs":
		grabs()
		asks(p)
	case what == "stays":
		unix.Read(link, make([]byte, wire.MaximumSize)) // it may begin: a signal before that ends the start
		stays()
	case what == "begins":
		const stops = 2 // as an Announce says it
		fmt.Println("start web:", ask(wire.StartWorker, []uint32{0}))
		fmt.Println("begin to stop:", ask(wire.Announce, []uint32{stops}))
		stays()
	default:
		packet, known := nonsense[what]
		fmt.Println("says nonsense", known)
		unix.Sendmsg(link, packet.bytes, packet.rights, nil, 0)
	}
	forever() // until the monitor ends it
	return 0
}

func stays() {
	fmt.Println("stays")
	forever()
}

// link is the supervisor's socket to the monitor.
const link = 3

// grabs tries what its walls are to stop.
func grabs() {
	try := func(what string, err error) { say(what, err) }
	for _, path := range []string{"/etc/hostname", "/etc/shadow", "/proc/1/mem", "/proc/1/root/etc/passwd", "/run/sandbox", "/dev/kmsg"} {
		fd, err := unix.Open(path, unix.O_RDONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		try("open "+path, err)
	}
	_, err := unix.Open("/made", unix.O_WRONLY|unix.O_CREAT, 0o600)
	try("make a file", err)
	_, err = unix.Pwrite(5, []byte("x"), 0)
	try("change the plan", err)
	try("execute a shell", unix.Exec("/bin/sh", []string{"sh"}, nil))
	_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 {
		try("fork", nil)
	} else {
		try("fork", errno)
	}
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	try("make a socket", err)
	try("a new user namespace", unix.Unshare(unix.CLONE_NEWUSER))
	try("mount", unix.Mount("none", "/", "tmpfs", 0, ""))
	try("trace its init", unix.PtraceAttach(1))
	try("kill its init", unix.Kill(1, unix.SIGKILL))
	try("become root", unix.Setresuid(0, 0, 0))
	_, _, errno = unix.Syscall(unix.SYS_BPF, 0, 0, 0)
	try("bpf", errno)
	_, err = unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), 0)
	try("open by handle", err)
	try("connect elsewhere", unix.Connect(4, &unix.SockaddrUnix{Name: "/run/systemd/private"}))
}

// asks tries what the monitor is to refuse. It may start what the plan lets
// start, as often as the plan says, and end the application.
func asks(p *plan.Plan) {
	index := map[string]uint32{}
	for i, c := range p.Components {
		index[c.Name] = uint32(i)
	}
	const none = 99
	own := uint32(len(p.Components) - 1)
	for _, q := range []struct {
		what   string
		op     wire.Op
		fields []uint32
	}{
		{"start web", wire.StartWorker, []uint32{index["web"]}},
		{"start web again", wire.StartWorker, []uint32{index["web"]}},
		{"start one that starts per request", wire.StartWorker, []uint32{index["work"]}},
		{"start another of itself", wire.StartWorker, []uint32{own}},
		{"start none", wire.StartWorker, []uint32{none}},
		{"start far away", wire.StartWorker, []uint32{^uint32(0)}},
		{"signal itself", wire.SignalWorker, []uint32{1, 9, 1}},
		{"signal nobody", wire.SignalWorker, []uint32{none, 9, 1}},
		{"build itself", wire.Rebuild, []uint32{own}},
		{"build nothing", wire.Rebuild, []uint32{none}},
		{"build what is there", wire.Rebuild, []uint32{index["web"]}},
		{"hold nobody", wire.Hold, []uint32{none, 1}},
		{"probe what has no readiness", wire.Probe, []uint32{index["work"]}},
		{"check what has no health", wire.Check, []uint32{index["work"]}},
		{"open a log that is none", wire.OpenLog, []uint32{0, 0}},
		{"watch nobody", wire.Watch, []uint32{none, 1}},
		{"retire itself", wire.Retire, []uint32{1, 9}},
		{"tidy up what has nothing to", wire.Tidy, []uint32{index["work"], wire.Exited, 0}},
		{"tidy up in another way", wire.Tidy, []uint32{index["work"], 77, 0}},
		{"end the tidying up of what has nothing to", wire.EndTidy, []uint32{index["work"]}},
		{"freeze itself", wire.Freeze, []uint32{1, 1}},
		{"freeze in another way", wire.Freeze, []uint32{none, 2}},
		{"announce something else", wire.Announce, []uint32{none}},
	} {
		fmt.Printf("%s: %s\n", q.what, ask(q.op, q.fields))
	}
	fmt.Println("asked")
	ask(wire.Finish, []uint32{7})
}

// ask sends a request and waits for its answer.
func ask(op wire.Op, fields []uint32) string {
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: op, ID: 77})
	for _, f := range fields {
		m.U32(f)
	}
	b, err := m.Bytes()
	if err == nil {
		err = unix.Sendmsg(link, b, nil, nil, 0)
	}
	if err != nil {
		return err.Error()
	}
	for {
		var packet [wire.MaximumSize]byte
		var control [1024]byte
		n, cn, _, _, err := unix.Recvmsg(link, packet[:], control[:], 0)
		if err == unix.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil || n == 0 {
			return fmt.Sprint("the monitor is gone: ", err)
		}
		fds := 0
		if messages, err := unix.ParseSocketControlMessage(control[:cn]); err == nil && len(messages) > 0 {
			all, _ := unix.ParseUnixRights(&messages[0])
			for fds = range all {
				unix.Close(all[fds])
			}
			fds = len(all)
		}
		h, _, err := wire.Parse(packet[:n], fds)
		if err != nil {
			return err.Error()
		}
		if h.Kind == wire.Reply {
			if h.Status != 0 {
				return unix.ErrnoName(unix.Errno(h.Status))
			}
			return "ok"
		}
	}
}

// nonsense are packets that no supervisor sends.
var nonsense = map[string]struct{ bytes, rights []byte }{
	"short":       {bytes: []byte("hello")},
	"empty-body":  {bytes: header(wire.Request, wire.StartWorker)},
	"long-body":   {bytes: append(header(wire.Request, wire.StartWorker), make([]byte, 100)...)},
	"too-large":   {bytes: make([]byte, 2*wire.MaximumSize)},
	"version":     {bytes: make([]byte, 64)},
	"reply":       {bytes: header(wire.Reply, wire.StartWorker)},
	"unknown":     {bytes: header(wire.Request, 999)},
	"worker-open": {bytes: append(header(wire.Request, wire.Open), make([]byte, 12)...)},
	"monitors":    {bytes: header(wire.Event, wire.WorkerEnded)},
	"descriptor":  {bytes: counted(header(wire.Request, wire.Finish), 1), rights: unix.UnixRights(0)},
}

func header(kind wire.Kind, op wire.Op) []byte {
	var m wire.Message
	b, _ := m.Begin(wire.Header{Kind: kind, Op: op, ID: 1}).Bytes()
	return b
}

func counted(b []byte, fds uint16) []byte {
	binary.LittleEndian.PutUint16(b[12:], fds)
	return b
}
