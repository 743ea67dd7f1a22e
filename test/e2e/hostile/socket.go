package hostile

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/test/e2e/outcome"
)

// door is a worker of one connection that asks for the socket which the
// connections of all come from.
func door(arguments []string) int {
	port := number(arguments[0])
	fd := tcp(unix.AF_INET)
	say("bind", raw(unix.SYS_BIND, fd, inet(port), 16))
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	fmt.Println("listens:", listens != 0)
	return 0
}

// take has a listening socket at 3 together with others, lets it block, and
// takes what comes before they do.
func take([]string) int {
	const listener, hands = 3, 4
	runtime.GOMAXPROCS(hands + 1)
	for range hands {
		go func() {
			for {
				unix.SetNonblock(listener, false)
				// Raw, so that nothing stands between the connection and its taker.
				if fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, listener, 0, 0, unix.SOCK_CLOEXEC, 0, 0); errno == 0 {
					unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
				}
			}
		}()
	}
	fmt.Println("takes")
	forever()
	return 0
}

// linger passes connections to the monitor on which much waits to be sent, and
// closes them, so that the monitor is the last that has them.
func linger(arguments []string) int {
	const listener = 3
	var passed sync.WaitGroup
	for range number(arguments[0]) {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			say("accept", err)
			return 1
		}
		say("linger", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}))
		for b := make([]byte, 1<<16); ; {
			if _, err := unix.Write(fd, b); err != nil {
				break
			}
		}
		passed.Go(func() {
			message := request(wire.Ready, 1, nil)
			unix.Sendmsg(brokerFD(), message.bytes, unix.UnixRights(fd), nil, 0)
			unix.Close(fd)
		})
	}
	passed.Wait()
	fmt.Println("passed")
	forever()
	return 0
}

// options sets options of a socket by which it could do more than connect to
// what is granted, and such as everybody sets.
func options(arguments []string) int {
	port := number(arguments[0])
	set := func(what string, fd int, level, name uint64, value []byte, length int) {
		_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&value[0])), uintptr(length), 0)
		if errno != 0 {
			say(what, errno)
			return
		}
		say(what, nil)
	}
	const above = 1 << 32
	fd, six := tcp(unix.AF_INET), tcp(unix.AF_INET6)
	loose := []byte{131 /* IPOPT_LSRR, linux/ip.h */, 7, 4, 127, 0, 0, 9, 0}
	set("a route of IPv4", fd, unix.IPPROTO_IP, unix.IP_OPTIONS, loose, 8)
	set("a route of IPv4, bits above", fd, unix.IPPROTO_IP|above, unix.IP_OPTIONS|above, loose, 8)
	set("a route of IPv4 of an IPv6 socket", six, unix.IPPROTO_IP, unix.IP_OPTIONS, loose, 8)
	// RFC 8754: two segments, the second is on the way to the first.
	segments := append([]byte{0, 4, 4, 1, 1, 0, 0, 0}, make([]byte, 32)...)
	segments[39] = 9
	set("a route of IPv6", six, unix.IPPROTO_IPV6, unix.IPV6_RTHDR, segments, len(segments))
	set("an older one", six, unix.IPPROTO_IPV6, unix.IPV6_2292RTHDR, segments, len(segments))
	set("one among others", six, unix.IPPROTO_IPV6, unix.IPV6_2292PKTOPTIONS, segments, len(segments))
	set("one of a label", six, unix.IPPROTO_IPV6, 32, segments, len(segments))
	set("a route of IPv6, bits above", six, unix.IPPROTO_IPV6|above, unix.IPV6_RTHDR|above, segments, len(segments))

	one := []byte{1, 0, 0, 0, 5, 0, 0, 0}
	lingers := func() { // on, seconds
		var b [8]byte
		length := uint32(len(b))
		unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
		fmt.Println("lingers:", b[0], b[4])
	}
	set("linger for 5 s", fd, unix.SOL_SOCKET, unix.SO_LINGER, one, 8)
	lingers()
	set("reset at the end", fd, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 8)
	lingers()
	set("linger for 5 s, bits above", fd, unix.SOL_SOCKET|above, unix.SO_LINGER|above, one, 8)
	lingers()
	set("linger in half a word", fd, unix.SOL_SOCKET, unix.SO_LINGER, one, 4)
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, 8, 8, 0)
	say("linger from nowhere", errno)
	set("linger of a pipe", pipe(), unix.SOL_SOCKET, unix.SO_LINGER, one, 8)
	set("linger of nothing", 999, unix.SOL_SOCKET, unix.SO_LINGER, one, 8)

	set("reuse of the address", fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, one, 4)
	set("reuse of the port", fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, one, 4)
	set("busy polling", fd, unix.SOL_SOCKET, unix.SO_BUSY_POLL, make([]byte, 4), 4)
	set("no delay", fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, one, 4)
	set("a kind of service", fd, unix.IPPROTO_IP, unix.IP_TOS, []byte{8, 0, 0, 0}, 4)
	set("IPv6 only", six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, one, 4)
	set("an unknown level", fd, 77, 1, one, 4)
	say("connect", raw(unix.SYS_CONNECT, fd, inet(port), 16))
	return 0
}

// crowd connects to PATH from COUNT threads at once, and says what came of it.
func crowd(arguments []string) int {
	count := number(arguments[1])
	var asked, done sync.WaitGroup
	answers := make([]error, count)
	asked.Add(count)
	for i := range count {
		done.Go(func() {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			asked.Done()
			if answers[i] = err; err == nil {
				answers[i] = unix.Connect(fd, &unix.SockaddrUnix{Name: arguments[0]})
			}
		})
	}
	asked.Wait()
	fmt.Println("asked")
	done.Wait()
	all := map[string]int{}
	for _, err := range answers {
		all[outcome.Of(err)]++
	}
	fmt.Println("answers:", all)
	return 0
}
