package address

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/reach"
)

// inside is set for this program when it plays a worker.
const inside = "BULKHEAD_TEST_ADDRESSES"

func TestMain(m *testing.M) {
	if verbs := os.Getenv(inside); verbs == "limit:0" {
		limitAsUser()
		os.Exit(0)
	} else if verbs != "" {
		playWorker(strings.Fields(verbs))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// playWorker does one verb after the other with the sockets that it inherited
// and says how each went: VERB:FD:ADDRESS.
func playWorker(verbs []string) {
	for _, v := range verbs {
		verb, rest, _ := strings.Cut(v, ":")
		number, where, _ := strings.Cut(rest, ":")
		fd := int(number[0] - '0')
		var to unix.Sockaddr
		if at, err := netip.ParseAddrPort(where); err == nil {
			to = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
			if at.Addr().Is4() {
				to = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
			}
		}
		var err error
		switch verb {
		case "send":
			err = unix.Sendto(fd, []byte("x"), 0, to)
		case "fast":
			err = unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
		case "connect":
			err = unix.Connect(fd, to)
		case "bind":
			err = unix.Bind(fd, to)
		case "apart":
			var unspecified [16]byte
			if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), 16); errno != 0 {
				err = errno
			}
		case "answer":
			var b [16]byte
			if _, to, err = unix.Recvfrom(fd, b[:], 0); err == nil {
				err = unix.Sendto(fd, []byte("answer"), 0, to)
			}
		case "unshare":
			err = unix.Unshare(unix.CLONE_NEWNET)
			fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			unix.Dup2(fd, 9)
		}
		result := "ok"
		if err != nil {
			result = unix.ErrnoName(err.(syscall.Errno))
		}
		fmt.Println(v, result)
	}
}

// walled is an application with the wall of addresses, whose monitor is this
// process.
type walled struct {
	*testing.T
	wall   *Wall
	groups string
}

func newWalled(t *testing.T, p *plan.Plan) *walled {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroup programs take root; the suite in the virtual machine runs this always")
	}
	hierarchy, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	base, err := hierarchy.Base()
	if err != nil {
		t.Fatal(err)
	}
	group := cgroup.Application(base, fmt.Sprintf("addresses-test-%d", os.Getpid()))
	for i := range p.Components {
		p.Components[i].Number = i // as the launcher does
	}
	wall, err := Limit(group, p)
	if err != nil {
		t.Fatal(err)
	}
	w := &walled{T: t, wall: wall, groups: filepath.Join(hierarchy.V2(), group)}
	t.Cleanup(func() {
		wall.Leave()
		wall.close()
		made, _ := filepath.Glob(w.groups + "/*")
		for _, directory := range append(append([]string{}, directories(made)...), w.groups) {
			if err := unix.Rmdir(directory); err != nil {
				t.Errorf("remove %s: %v", directory, err)
			}
		}
		unix.Rmdir(filepath.Dir(w.groups))
	})
	return w
}

func directories(paths []string) (all []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			all = append(all, path)
		}
	}
	return all
}

// worker lets a worker of a component do its verbs with sockets from number 3
// on, and compares what it says.
func (w *walled) worker(component string, sockets []int, want ...string) {
	w.Helper()
	group, err := unix.Open(filepath.Join(w.groups, component), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer unix.Close(group)
	var verbs []string
	for _, line := range want {
		verb, _, _ := strings.Cut(line, " ")
		verbs = append(verbs, verb)
	}
	command := exec.Command("/proc/self/exe")
	command.Env = []string{inside + "=" + strings.Join(verbs, " ")}
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: group}
	for _, fd := range sockets {
		copied, err := unix.Dup(fd)
		if err != nil {
			w.Fatal(err)
		}
		file := os.NewFile(uintptr(copied), "socket")
		defer file.Close()
		command.ExtraFiles = append(command.ExtraFiles, file)
	}
	out, err := command.CombinedOutput()
	if err != nil {
		w.Fatalf("%v: %s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != strings.Join(want, "\n") {
		w.Errorf("a worker of %s says\n%s\nwant\n%s", component, got, strings.Join(want, "\n"))
	}
}

func newSocket(t *testing.T, family, kind int, bound unix.Sockaddr) int {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil && bound != nil {
		err = unix.Bind(fd, bound)
	}
	if err != nil {
		t.Fatal(err)
	}
	timeout := unix.NsecToTimeval(int64(5 * time.Second))
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func portOf(t *testing.T, fd int) uint16 {
	t.Helper()
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(name.Port)
	case *unix.SockaddrInet6:
		return uint16(name.Port)
	}
	t.Fatalf("%T", name)
	return 0
}

var loopback = [4]byte{127, 0, 0, 1}

// freePort is a port that nobody has, by its name.
func freePort(t *testing.T) uint16 {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return uint16(c.LocalAddr().(*net.UDPAddr).Port)
}

func addressesPlan(served, open, asked uint16) *plan.Plan {
	return &plan.Plan{
		Application: "addresses",
		Grants: []plan.Grant{
			{Name: "served", Kind: plan.GrantListen, Network: "udp", Address: "127.0.0.1", Port: served, Answers: plan.AnswerAskers},
			{Name: "open", Kind: plan.GrantListen, Network: "udp", Address: "127.0.0.1", Port: open, Answers: plan.AnswerAnyone},
			{Name: "asked", Kind: plan.GrantConnect, Network: "udp", Address: "127.0.0.1", Port: asked},
			{Name: "reached", Kind: plan.GrantConnect, Network: "tcp", Address: "127.0.0.1", Port: asked},
		},
		Components: []plan.Component{
			{Name: "server", Grants: []plan.Binding{{Grant: 0}}},
			{Name: "herald", Grants: []plan.Binding{{Grant: 1}}},
			{Name: "client", Grants: []plan.Binding{{Grant: 2}, {Grant: 3}}},
			{Name: "nobody"},
			{Name: "free", HostNetwork: true},
		},
	}
}

func TestDatagramsGoWhereTheyMay(t *testing.T) {
	served, open, asked := freePort(t), freePort(t), freePort(t)
	w := newWalled(t, addressesPlan(served, open, asked))
	server := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{Port: int(served), Addr: loopback})
	herald := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{Port: int(open), Addr: loopback})
	client4 := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, nil)
	client6 := newSocket(t, unix.AF_INET6, unix.SOCK_DGRAM, nil)
	asking := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{Addr: loopback})
	friend, stranger := fmt.Sprintf("127.0.0.1:%d", asked), fmt.Sprintf("127.0.0.1:%d", portOf(t, asking))

	// A client: to the granted address and no other, by any family.
	w.worker("client", []int{client4, client6},
		"send:3:"+friend+" ok", "send:3:"+stranger+" EPERM", "send:4:[::ffff:127.0.0.1]:"+friend[len("127.0.0.1:"):]+" ok",
		"send:4:[::1]:"+friend[len("127.0.0.1:"):]+" EPERM", "connect:3:"+stranger+" EPERM", "connect:3:"+friend+" ok",
		"send:3:"+stranger+" EPERM", "bind:4:[::]:0 EPERM")
	// A server: to nobody who has not asked, and then to that one.
	w.worker("server", []int{server}, "send:3:"+stranger+" EPERM", "send:3:"+friend+" EPERM")
	if err := unix.Sendto(asking, []byte("question"), 0, &unix.SockaddrInet4{Port: int(served), Addr: loopback}); err != nil {
		t.Fatal(err)
	}
	w.worker("server", []int{server}, "answer:3 ok", "send:3:"+stranger+" ok", "send:3:"+friend+" EPERM", "connect:3:"+stranger+" ok")
	var b [16]byte
	if n, _, err := unix.Recvfrom(asking, b[:], 0); err != nil || string(b[:n]) != "answer" {
		t.Errorf("the asker got %q, %v", b[:n], err)
	}
	// The socket of another component gives nothing.
	w.worker("client", []int{herald}, "send:3:"+stranger+" EPERM")
	w.worker("nobody", []int{client4, server}, "send:3:"+friend+" EPERM", "send:4:"+stranger+" EPERM")
	w.worker("herald", []int{herald}, "send:3:"+stranger+" ok", "send:3:127.0.0.2:9 ok")
	w.worker("free", []int{newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, nil)}, "send:3:"+stranger+" ok", "bind:3:127.0.0.1:0 EINVAL")
	// What a component does in an empty network of its own is its own business.
	w.worker("nobody", nil, "unshare:9 ok", "send:9:"+friend+" ENETUNREACH")
}

func TestConnectionsGoWhereTheyMay(t *testing.T) {
	w := newWalled(t, addressesPlan(freePort(t), freePort(t), freePort(t)))
	friends := newSocket(t, unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Addr: loopback})
	strangers := newSocket(t, unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Addr: loopback})
	for _, fd := range []int{friends, strangers} {
		if err := unix.Listen(fd, 8); err != nil {
			t.Fatal(err)
		}
	}
	friend, stranger := fmt.Sprintf("127.0.0.1:%d", portOf(t, friends)), fmt.Sprintf("127.0.0.1:%d", portOf(t, strangers))
	// As the monitor does for a name that has this address now.
	key := reach.Key{Component: 2, Protocol: reach.TCP, Use: reach.Send, Port: portOf(t, friends), IP: netip.MustParseAddr("127.0.0.1")}
	stream := func() int { return newSocket(t, unix.AF_INET, unix.SOCK_STREAM, nil) }
	w.worker("client", []int{stream()}, "connect:3:"+friend+" EPERM")
	if err := reach.Allow(w.wall.Allowed, reach.Rule{Key: key, Value: 1}); err != nil {
		t.Fatal(err)
	}
	w.worker("client", []int{stream(), stream(), stream(), stream()},
		"connect:3:"+friend+" ok", "connect:4:"+stranger+" EPERM", "fast:5:"+stranger+" EPERM", "bind:6:"+stranger+" EPERM",
		// Taken apart it is a socket of the host's network like any other.
		"apart:3 ok", "connect:3:"+stranger+" EPERM")
	if err := reach.Forbid(w.wall.Allowed, key); err != nil {
		t.Fatal(err)
	}
	w.worker("client", []int{stream()}, "connect:3:"+friend+" EPERM")
}

func TestRefusedAddressesAreTold(t *testing.T) {
	w := newWalled(t, addressesPlan(freePort(t), freePort(t), freePort(t)))
	refusals, err := reach.MapRefusals(w.wall.Refusals)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := refusals.Next(); ok {
		t.Fatalf("refused before anybody asked: %+v", r)
	}
	fd := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM, nil)
	verbs := []string{"send:3:192.0.2.7:77 EPERM", "bind:3:192.0.2.7:77 EPERM"}
	const more = 28
	for range more {
		verbs = append(verbs, "send:3:192.0.2.8:77 EPERM")
	}
	// More than the ring has room for, a few at a time: it goes round.
	for range 2 + reach.RingSize/(reach.RefusalSize+8)/len(verbs) {
		w.worker("client", []int{fd}, verbs...)
		for k, want := range []reach.Refusal{
			{Component: 2, Protocol: reach.UDP, Use: reach.Send, Port: 77, IP: netip.MustParseAddr("192.0.2.7")},
			{Component: 2, Protocol: reach.UDP, Use: reach.Bind, Port: 77, IP: netip.MustParseAddr("192.0.2.7")},
		} {
			got, ok := refusals.Next()
			if got.Pid == 0 {
				t.Errorf("refusal %d has no process", k)
			}
			if got.Pid = 0; !ok || got != want {
				t.Fatalf("refusal %d is %+v, %v; want %+v", k, got, ok, want)
			}
		}
		for range more {
			refusals.Next()
		}
	}
	if r, ok := refusals.Next(); ok {
		t.Errorf("one too many: %+v", r)
	}
}

// The programs are the group's: with it they go, and without the group nobody
// is left who could run them.
func TestProgramsGoWithTheGroup(t *testing.T) {
	w := newWalled(t, addressesPlan(freePort(t), freePort(t), freePort(t)))
	for _, group := range []string{"", "/client", "/" + MonitorGroup} {
		if n, err := reach.Attached(w.groups + group); err != nil || n < 1 {
			t.Errorf("%d programs at %q, %v", n, group, err)
		}
	}
	if n, err := reach.Attached(filepath.Dir(w.groups)); err != nil || n != 0 {
		t.Errorf("%d programs above the application, %v", n, err)
	}
}

// Without a need there is no wall, and where it may be missing no error.
func TestWallOfAddressesIsNotBuiltForNothing(t *testing.T) {
	p := &plan.Plan{Application: "addresses", Components: []plan.Component{{Name: "still"}}}
	if a, err := Limit("/sandbox/never", p); a != nil || err != nil {
		t.Errorf("%v, %v", a, err)
	}
}

// An ordinary user cannot load programs into the kernel.
func TestWallOfAddressesThatCannotBeBuilt(t *testing.T) {
	command := exec.Command("/proc/self/exe")
	command.Env = []string{inside + "=limit:0"}
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `app.yaml:3:5: component "server": limit where its datagrams go: load programs into the kernel: operation not permitted; ` +
		"run it as root (CAP_BPF and CAP_NET_ADMIN), or write optional: [addresses] if they may go anywhere\noptional: true <nil>\n"
	if string(out) != want {
		t.Errorf("it says\n%s\nwant\n%s", out, want)
	}
}

// limitAsUser is what the program does for that.
func limitAsUser() {
	p := addressesPlan(1, 2, 3)
	for i := range p.Grants {
		p.Grants[i].Position = plan.Position{File: "app.yaml", Line: 3, Column: 5}
	}
	_, err := Limit("/sandbox/never", p)
	fmt.Println(err)
	for i := range p.Components {
		p.Components[i].Optional = []string{"addresses"}
	}
	a, err := Limit("/sandbox/never", p)
	fmt.Println("optional:", a == nil, err)
}
