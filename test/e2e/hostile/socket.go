package hostile

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
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
