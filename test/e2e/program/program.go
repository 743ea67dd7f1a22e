// Package program is what components do in these tests when they are honest.
// A component's command is PROGRAM program VERB ARGUMENT...; each line of its
// output is one fact that a test compares.
package program

import (
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var verbs = map[string]func([]string) int{
	"describe": describe, // environment and descriptors
	"ask":      ask,      // requests to the broker, one an argument
	"serve":    serve,    // a unix or TCP server on descriptor 3: answers lines
	"dial":     dial,     // unmodified network calls
	"stubborn": stubborn, // ignores SIGTERM
	"exit":     exit,     // ends with a status
	"burn":     burn,     // uses up processor time
	"fill":     fill,     // uses up memory
	"files":    doFiles,  // unmodified calls on files, one an argument
	"obey":     obey,     // what the test says, line by line, on descriptor 3
}

// Main runs a verb and returns the exit status.
func Main(arguments []string) int {
	if len(arguments) == 0 || verbs[arguments[0]] == nil {
		fmt.Println("unknown verb:", arguments)
		return 99
	}
	return verbs[arguments[0]](arguments[1:])
}

// describe prints what the program was started with, the way a daemon that
// was written for systemd looks at it.
func describe([]string) int {
	fmt.Println("pid is LISTEN_PID:", strconv.Itoa(os.Getpid()) == os.Getenv("LISTEN_PID"))
	for _, name := range []string{"LISTEN_FDS", "LISTEN_FDNAMES", "SANDBOX_BROKER_FD"} {
		fmt.Printf("%s=%s\n", name, os.Getenv(name))
	}
	numbers := []string{}
	for fd := range 64 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			continue
		}
		// The Go runtime's own, all of them close-on-exec, are not inherited.
		if flags&unix.FD_CLOEXEC == 0 {
			numbers = append(numbers, strconv.Itoa(fd)+":"+kindOf(fd))
		}
	}
	fmt.Println("descriptors:", strings.Join(numbers, " "))
	var environment []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		environment = append(environment, name)
	}
	sort.Strings(environment)
	fmt.Println("environment:", strings.Join(environment, " "))
	return 0
}

func kindOf(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return "?"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		if on, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); on == 1 {
			return "listening"
		}
		return "socket"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFCHR:
		return "device"
	case unix.S_IFDIR:
		return "directory"
	}
	return "other"
}

// serve answers on the listening socket at descriptor 3.
func serve(arguments []string) int {
	fmt.Println("serving")
	for {
		fd, _, err := unix.Accept(3)
		if err != nil {
			fmt.Println("accept:", err)
			return 1
		}
		var b [256]byte
		n, _ := unix.Read(fd, b[:])
		unix.Write(fd, []byte(strings.Join(arguments, " ")+" heard "+string(b[:n])))
		unix.Close(fd)
	}
}

func stubborn([]string) int {
	signal.Ignore(unix.SIGTERM)
	fmt.Println("stays")
	time.Sleep(time.Hour)
	return 0
}

func exit(arguments []string) int {
	status, _ := strconv.Atoi(arguments[0])
	return status
}

func burn([]string) int {
	for x := 1; ; x++ {
		if x == 0 {
			return 0
		}
	}
}

func fill([]string) int {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) == 1<<20 {
			return 0
		}
	}
}
