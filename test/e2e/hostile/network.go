package hostile

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inet is struct sockaddr_in (ip(7)) of 127.0.0.1, with room behind it.
func inet(port int) []byte {
	b := make([]byte, 256)
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	copy(b[4:], []byte{127, 0, 0, 1})
	return b
}

// mapped is struct sockaddr_in6 of ::ffff:127.0.0.1.
func mapped(port int) []byte {
	b := make([]byte, 256)
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	copy(b[18:], []byte{0xff, 0xff, 127, 0, 0, 1})
	return b
}

func raw(call uintptr, fd int, address []byte, length int) error {
	_, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&address[0])), uintptr(length))
	if errno != 0 {
		return errno
	}
	return nil
}

func tcp(family int) int {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		say("socket", err)
		return -1
	}
	return fd
}

// network makes calls that the monitor performs: to PORT, which is granted,
// and to OTHER, which is not.
func network(arguments []string) int {
	port, other := number(arguments[0]), number(arguments[1])
	connect := func(what string, family int, address []byte, length int) {
		fd := tcp(family)
		say("connect to "+what, raw(unix.SYS_CONNECT, fd, address, length))
		unix.Close(fd)
	}
	connect("the granted port", unix.AF_INET, inet(port), 16)
	connect("another port", unix.AF_INET, inet(other), 16)
	connect("the granted port, mapped", unix.AF_INET6, mapped(port), 28)
	connect("another port, mapped", unix.AF_INET6, mapped(other), 28)
	connect("a long address", unix.AF_INET, inet(port), 128)
	connect("a longer one", unix.AF_INET, inet(port), 129)
	connect("a negative length", unix.AF_INET, inet(port), -1)
	connect("no length", unix.AF_INET, inet(port), 0)
	connect("half an address", unix.AF_INET, inet(port), 7)
	fd := tcp(unix.AF_INET)
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), 8, 16)
	say("connect to nowhere in memory", errno)
	say("connect a pipe", raw(unix.SYS_CONNECT, pipe(), inet(port), 16))
	say("connect nothing", raw(unix.SYS_CONNECT, 999, inet(port), 16))
	unspecified := make([]byte, 16)
	raw(unix.SYS_CONNECT, fd, inet(port), 16)
	say("take a connection apart", raw(unix.SYS_CONNECT, fd, unspecified, 16))
	say("bind another port", raw(unix.SYS_BIND, tcp(unix.AF_INET), inet(other), 16))
	unbound := tcp(unix.AF_INET)
	say("listen on a port of the kernel's choice", unix.Listen(unbound, 5))
	for _, s := range []struct {
		name                   string
		family, kind, protocol int
	}{
		{"MPTCP", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
		{"SCTP", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
		{"UDP", unix.AF_INET, unix.SOCK_DGRAM, 0},
		{"raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		{"ping", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
		{"unix", unix.AF_UNIX, unix.SOCK_STREAM, 0},
		{"netlink", unix.AF_NETLINK, unix.SOCK_RAW, 0},
		{"packet", unix.AF_PACKET, unix.SOCK_RAW, 0},
		{"vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		{"alg", unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
	} {
		_, err := unix.Socket(s.family, s.kind|unix.SOCK_CLOEXEC, s.protocol)
		fmt.Printf("socket %s: %v\n", s.name, err != nil)
	}
	return 0
}

func pipe() int {
	var p [2]int
	unix.Pipe2(p[:], unix.O_CLOEXEC)
	return p[0]
}

// uncovered goes to a port that is not granted by calls that take an address
// and that nobody stops.
func uncovered(arguments []string) int {
	other := number(arguments[1])
	address := &unix.SockaddrInet4{Port: other, Addr: [4]byte{127, 0, 0, 1}}
	fd := tcp(unix.AF_INET)
	say("sendto with MSG_FASTOPEN", unix.Sendto(fd, []byte("escaped"), unix.MSG_FASTOPEN, address))
	fd = tcp(unix.AF_INET)
	_, err := unix.SendmsgN(fd, []byte("escaped"), nil, address, unix.MSG_FASTOPEN)
	say("sendmsg with MSG_FASTOPEN", err)
	fd = tcp(unix.AF_INET)
	say("set TCP_FASTOPEN_CONNECT", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1))
	say("connect to another port", unix.Connect(fd, address))
	_, err = unix.Write(fd, []byte("escaped"))
	fmt.Println("written:", err == nil)
	return 0
}

// datagrams sends to a port that is not granted from a socket of one that is.
func datagrams(arguments []string) int {
	port, other := number(arguments[0]), number(arguments[1])
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	say("socket", err)
	to := func(port int) unix.Sockaddr { return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}} }
	say("send to the granted port", unix.Sendto(fd, []byte("granted"), 0, to(port)))
	say("send to another", unix.Sendto(fd, []byte("escaped"), 0, to(other)))
	say("connect to the granted port", unix.Connect(fd, to(port)))
	say("send to another when connected", unix.Sendto(fd, []byte("escaped"), 0, to(other)))
	return 0
}

// rewrite connects to PORT, which is granted, while another thread writes
// OTHER over it and puts other sockets at the descriptor's number.
func rewrite(arguments []string) int {
	port, other := number(arguments[0]), number(arguments[1])
	limit, _ := time.ParseDuration(arguments[2])
	address := inet(port)
	var fd atomic.Int32
	fd.Store(-1)
	spare := tcp(unix.AF_INET)
	go func() {
		for i := 0; ; i++ {
			binary.BigEndian.PutUint16(address[2:], uint16(other))
			if n := int(fd.Load()); n >= 0 && i%7 == 0 {
				unix.Dup3(spare, n, unix.O_CLOEXEC)
			}
			binary.BigEndian.PutUint16(address[2:], uint16(port))
		}
	}()
	connected, refused, wrong := 0, 0, 0
	for end := time.Now().Add(limit); goesOn(end, connected > 0 && refused > 0); {
		s := tcp(unix.AF_INET)
		fd.Store(int32(s))
		err := raw(unix.SYS_CONNECT, s, address, 16)
		fd.Store(-1)
		if err == nil {
			connected++
		} else {
			refused++
		}
		for _, n := range []int{s, spare} {
			if peer, err := unix.Getpeername(n); err == nil {
				if a, ok := peer.(*unix.SockaddrInet4); ok && a.Port == other {
					wrong++
				}
			}
		}
		unix.Close(s)
		if peer, err := unix.Getpeername(spare); err == nil && peer != nil {
			unix.Close(spare)
			spare = tcp(unix.AF_INET)
		}
	}
	fmt.Println("connected some:", connected > 0, "refused some:", refused > 0, "wrong:", wrong)
	return 0
}
