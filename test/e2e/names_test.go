package e2e

import (
	"encoding/binary"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nameServer answers questions for one name with the addresses that it has
// now, and others with "no such name" (RFC 1035).
type nameServer struct {
	sync.Mutex
	conn      *net.UDPConn
	name      string
	addresses []string
	questions int // so many were answered
}

func newNameServer(t *testing.T, name string, addresses ...string) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &nameServer{conn: conn, name: name, addresses: addresses}
	go s.serve()
	return s
}

func (s *nameServer) address() string { return s.conn.LocalAddr().String() }

func (s *nameServer) set(addresses ...string) {
	s.Lock()
	defer s.Unlock()
	s.addresses = addresses
}

// answered is how many questions it had.
func (s *nameServer) answered() int {
	s.Lock()
	defer s.Unlock()
	return s.questions
}

func (s *nameServer) serve() {
	packet := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFromUDP(packet)
		if err != nil {
			return
		}
		asked, end := "", 12
		for end < n && packet[end] != 0 {
			asked += string(packet[end+1:end+1+int(packet[end])]) + "."
			end += int(packet[end]) + 1
		}
		question := packet[12 : end+5]
		s.Lock()
		addresses := s.addresses
		s.questions++
		s.Unlock()
		code := byte(0)
		if strings.ToLower(asked) != s.name+"." || len(addresses) == 0 {
			addresses, code = nil, 3
		}
		if binary.BigEndian.Uint16(packet[end+1:]) != 1 {
			addresses = nil // A only
		}
		reply := []byte{packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, byte(len(addresses)), 0, 0, 0, 0}
		reply = append(reply, question...)
		for _, ip := range addresses {
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)
			reply = append(reply, net.ParseIP(ip).To4()...)
		}
		s.conn.WriteToUDP(reply, from)
	}
}

// greeter says its address to whoever connects.
func greeter(t *testing.T, address string) (port string) {
	t.Helper()
	l := serve(t, "tcp4", address, func(at net.Addr, _ []byte) string { return at.String() + "\n" })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// A program that nobody changed looks up the name of a grant, in a file that the
// monitor keeps fresh, and connects to what it stands for now; to what it
// does not stand for nobody connects. By the grant's name it is the same.
func TestNameThatMoves(t *testing.T) {
	port := greeter(t, "127.0.0.2:0")
	greeter(t, "127.0.0.3:"+port)
	greeter(t, "127.0.0.4:"+port)
	server := newNameServer(t, "ship.test", "127.0.0.2")
	a := New(t, "names").Write(`
application: {{NAME}}
grants:
  ship: {connect: "tcp:ship.test:` + port + `"}
names: {servers: "` + server.address() + `", refresh: 1s}
components:
  sailor:
    command: [{{PROGRAM}}, program, dial, "tcp ship.test:` + port + `", "tcp 127.0.0.4:` + port + `", "tcp other.test:` + port + `", "every tcp ship.test:` + port + `"]
    limits: {processes: 16}
    grants: [ship]
  asker:
    command: [{{PROGRAM}}, program, ask, "every connect ship"]
    grants: [ship]
`).Run()
	first := `tcp ship.test:` + port + `: "127.0.0.2:` + port + `\n"`
	a.Expect(a.Out, first)
	a.Expect(a.Out, "tcp 127.0.0.4:"+port+": EACCES")
	a.Expect(a.Out, `connect ship: "127.0.0.2:`+port)
	server.set("127.0.0.3")
	a.Expect(a.Out, `tcp ship.test:`+port+`: "127.0.0.3:`+port+`\n"`)
	a.Expect(a.Out, `connect ship: "127.0.0.3:`+port)
	// A server that knows it no more takes nothing away.
	server.set()
	asked := server.answered()
	a.eventually("the name was looked up twice more, for each kind of address", func() bool { return server.answered() >= asked+4 })
	lines := a.Lines("asker")
	// On a slow machine the components started before the first answer.
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "connect ship: EHOSTUNREACH" })
	if len(lines) != 2 {
		t.Errorf("the asker wrote %q", lines)
	}
	if strings.Contains(a.Out.String(), "127.0.0.4:"+port+`\n`) {
		t.Error("it reached an address that no grant's name has")
	}
	a.Stop()
	a.ExpectNothingLeft(0)
}

// A name that nobody knows is told, and the application runs.
func TestNameThatIsNone(t *testing.T) {
	server := newNameServer(t, "other.test", "127.0.0.2")
	port := greeter(t, "127.0.0.2:0")
	a := New(t, "noname").Write(`
application: {{NAME}}
grants:
  ship: {connect: "tcp:ship.test:` + port + `"}
names: {servers: "` + server.address() + `", refresh: 1s}
components:
  asker:
    command: [{{PROGRAM}}, program, ask, "connect ship", "every connect ship"]
    grants: [ship]
`).Run().Ready()
	a.Expect(a.Out, "connect ship: EHOSTUNREACH")
	if events, err := exec.Command(a.site.Sandbox, "events", a.Name).CombinedOutput(); err != nil || !strings.Contains(string(events), "ship.test does not resolve") {
		t.Errorf("the events say %v\n%s", err, events)
	}
	server.Lock()
	server.name = "ship.test"
	server.Unlock()
	a.Expect(a.Out, `connect ship: "127.0.0.2:`+port)
	a.Stop()
	a.ExpectNothingLeft(0)
}
