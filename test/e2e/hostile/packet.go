package hostile

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/client"
	"bulkhead/broker/wire"
	"bulkhead/test/e2e/outcome"
)

// message is a packet that is right but for what a variant changes.
type message struct {
	bytes []byte
	fds   int
}

func request(op wire.Op, fds int, body func(*wire.Message)) message {
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: op, ID: 7, FDs: fds})
	if body != nil {
		body(&m)
	}
	b, err := m.Bytes()
	if err != nil {
		panic(err)
	}
	return message{append([]byte(nil), b...), fds}
}

func (m message) set(at int, b ...byte) message { copy(m.bytes[at:], b); return m }
func (m message) with(b ...byte) message        { m.bytes = append(m.bytes, b...); return m }
func (m message) carrying(n int) message        { m.fds = n; return m }

func u16(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }

// Variants are the packets that TestPackets has sent, by name.
var Variants = map[string]func() message{
	"three bytes":            func() message { return message{[]byte{1, 1, 6}, 0} },
	"half a header":          func() message { return message{request(wire.Ready, 0, nil).bytes[:15], 0} },
	"another version":        func() message { return request(wire.Ready, 0, nil).set(0, 9) },
	"a reply":                func() message { return request(wire.Ready, 0, nil).set(1, 2) },
	"an event":               func() message { return request(wire.Ready, 0, nil).set(1, 3) },
	"no kind":                func() message { return request(wire.Ready, 0, nil).set(1, 0) },
	"an unknown kind":        func() message { return request(wire.Ready, 0, nil).set(1, 77) },
	"reserved bytes":         func() message { return request(wire.Ready, 0, nil).set(14, 1) },
	"a status":               func() message { return request(wire.Ready, 0, nil).set(8, 1) },
	"a descriptor too few":   func() message { return request(wire.Ready, 1, nil).carrying(0) },
	"a descriptor too many":  func() message { return request(wire.Ready, 0, nil).carrying(1) },
	"17 descriptors":         func() message { return request(wire.Store, 17, func(m *wire.Message) { m.String("x") }) },
	"253 descriptors":        func() message { return request(wire.Store, 253, func(m *wire.Message) { m.String("x") }) },
	"4097 bytes":             func() message { return request(wire.Ready, 0, nil).with(make([]byte, 4097-16)...) },
	"100000 bytes":           func() message { return request(wire.Ready, 0, nil).with(make([]byte, 100000)...) },
	"a body where is none":   func() message { return request(wire.Ready, 0, nil).with(1) },
	"no body":                func() message { return request(wire.Open, 0, nil) },
	"a string too long":      func() message { return request(wire.Drop, 0, nil).with(u16(500)...).with('x') },
	"a zero in a string":     func() message { return request(wire.Drop, 0, func(m *wire.Message) { m.String("bo\x00ks") }) },
	"bytes behind":           func() message { return request(wire.Drop, 0, func(m *wire.Message) { m.String("x") }).with(0) },
	"65535 grants to keep":   func() message { return request(wire.Seal, 0, nil).with(u16(65535)...) },
	"65535 numbers":          func() message { return request(wire.Start, 0, func(m *wire.Message) { m.String("x").U16(65535) }) },
	"numbers without any":    func() message { return request(wire.Start, 1, func(m *wire.Message) { m.String("x").U16(0) }) },
	"a store of nothing":     func() message { return request(wire.Store, 0, func(m *wire.Message) { m.String("x") }) },
	"an unknown operation":   func() message { return request(wire.StartWorker-1, 0, nil) },
	"operation zero":         func() message { return request(0, 0, nil) },
	"the supervisor's start": func() message { return request(wire.StartWorker, 0, func(m *wire.Message) { m.U32(0) }) },
	"the supervisor's end":   func() message { return request(wire.Finish, 0, func(m *wire.Message) { m.U32(0) }) },
	"the monitor's event":    func() message { return request(wire.WorkerEnded, 0, nil) },
	"the last operation":     func() message { return request(65535, 0, nil) },
	"descriptors for open": func() message {
		return request(wire.Open, 2, func(m *wire.Message) { m.U32(0).U32(0).String("books").String("moby") })
	},
}

// packet reads the name of a variant, sends it, and says what came back.
func packet([]string) int {
	name, _ := io.ReadAll(os.Stdin)
	variant := Variants[string(name)]
	if variant == nil {
		fmt.Printf("unknown variant %q\n", name)
		return 99
	}
	m := variant()
	socket := brokerFD()
	var rights []byte
	if m.fds > 0 {
		fds := make([]int, m.fds)
		for i := range fds {
			fds[i] = 1
		}
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(socket, m.bytes, rights, nil, 0); err != nil {
		fmt.Println("not sent:", outcome.Of(err))
		return 0
	}
	var b [wire.MaximumSize]byte
	n, _, _, _, err := unix.Recvmsg(socket, b[:], make([]byte, 128), 0)
	if err != nil || n == 0 {
		fmt.Println("no answer:", n, outcome.Of(err))
		forever() // death is on its way
	}
	h, _, err := wire.Parse(b[:n], 0)
	fmt.Printf("%s %v", unix.ErrnoName(unix.Errno(h.Status)), err)
	return 0
}

// flood sends requests as fast as it can: without reading the answers
// ("deaf"), or reading them ("fair"), until its time is over or it is killed.
func flood(arguments []string) int {
	fmt.Println("floods")
	socket := brokerFD()
	m := request(wire.Open, 0, func(m *wire.Message) { m.U32(0).U32(0).String("books").String("moby") })
	if arguments[0] == "bad" { // refused ones are reported, too
		m = request(wire.Drop, 0, func(m *wire.Message) { m.String("nothing") })
		m.bytes[2] = 200
	}
	if arguments[0] != "deaf" {
		go func() {
			var b [wire.MaximumSize]byte
			control := make([]byte, 128)
			for {
				n, cn, _, _, err := unix.Recvmsg(socket, b[:], control, unix.MSG_CMSG_CLOEXEC)
				if err != nil || n == 0 {
					return
				}
				messages, _ := unix.ParseSocketControlMessage(control[:cn])
				for _, c := range messages {
					fds, _ := unix.ParseUnixRights(&c)
					for _, fd := range fds {
						unix.Close(fd)
					}
				}
			}
		}()
	}
	for {
		if err := unix.Sendmsg(socket, m.bytes, nil, nil, 0); err != nil {
			fmt.Println("ends:", outcome.Of(err))
			return 1
		}
	}
}

// calm opens a file N times and says how long that took at most and in the
// middle.
func calm(arguments []string) int {
	b, err := client.Dial()
	if err != nil {
		say("dial", err)
		return 1
	}
	var times []time.Duration
	for range number(arguments[0]) {
		start := time.Now()
		f, err := b.Open("books", "moby", os.O_RDONLY, 0)
		if err != nil {
			say("open", err)
			return 1
		}
		times = append(times, time.Since(start))
		f.Close()
	}
	sort.Slice(times, func(i, k int) bool { return times[i] < times[k] })
	fmt.Println(strings.Join([]string{"served", fmt.Sprint(len(times)), "median", times[len(times)/2].String(), "most", times[len(times)-1].String()}, " "))
	return 0
}
