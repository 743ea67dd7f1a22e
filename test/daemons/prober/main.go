// Command prober tries what a daemon must not be able to do, and prints what
// came of each try as one line of JSON: "done", or the name of the errno. The
// tests run it in a daemon's own compartment, and outside of any.
package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark stands before the line, so that it is found among others.
const mark = "PROBES "

func main() {
	tries := map[string]func(string) error{
		"read":    read,
		"write":   write,
		"connect": connect,
		"listen":  listen,
		"see":     see,
		"signal":  signal,
		"execute": execute,
		"netlink": netlink,
	}
	results := map[string]string{}
	for _, argument := range os.Args[1:] {
		name, object, _ := strings.Cut(argument, "=")
		try := tries[name]
		if try == nil {
			fmt.Fprintf(os.Stderr, "prober: nothing is called %q\n", name)
			os.Exit(2)
		}
		results[argument] = outcome(try(object))
	}
	line, err := json.Marshal(results)
	if err != nil {
		panic(err) // a map of texts
	}
	fmt.Println(mark + string(line))
}

func outcome(err error) string {
	if err == nil {
		return "done"
	}
	for wrapped := err; wrapped != nil; {
		if errno, ok := wrapped.(syscall.Errno); ok {
			return unix.ErrnoName(errno)
		}
		unwrap, ok := wrapped.(interface{ Unwrap() error })
		if !ok {
			break
		}
		wrapped = unwrap.Unwrap()
	}
	return err.Error()
}

func read(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func write(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func socket(text string) (int, unix.Sockaddr, error) {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	return fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, err
}

func connect(text string) error {
	fd, at, err := socket(text)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, at)
}

func listen(text string) error {
	fd, at, err := socket(text)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, at); err != nil {
		return err
	}
	return unix.Listen(fd, 1)
}

func see(pid string) error {
	_, err := os.Stat("/proc/" + pid)
	return err
}

func signal(pid string) error {
	number, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	return unix.Kill(number, unix.SIGCONT)
}

func execute(path string) error { return exec.Command(path, "-c", "exit 0").Run() }

func netlink(protocol string) error {
	number, err := strconv.Atoi(protocol)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, number)
	if err == nil {
		unix.Close(fd)
	}
	return err
}
