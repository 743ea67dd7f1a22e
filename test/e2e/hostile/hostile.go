// Package hostile is what components do in these tests when they are not
// honest. Each line of output is one fact that a test compares.
//
//	packet.go     malformed and forbidden messages to the monitor, floods
//	descriptor.go what can be done with, and through, descriptors
//	bring.go      plans for the keeper
//	tally.go      what the races got
//	network.go    calls that the monitor performs, changed while it looks
//	socket.go     sockets that others have too, and options of sockets
package hostile

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"bulkhead/test/e2e/outcome"
)

var verbs = map[string]func([]string) int{
	"packet":    packet,
	"bring":     bringPlan,
	"flood":     flood,
	"calm":      calm,
	"append":    appendOnly,
	"kept":      appendKept,
	"reopen":    reopen,
	"swap":      swap,
	"race":      race,
	"ladder":    ladder,
	"climb":     climb,
	"network":   network,
	"rewrite":   rewrite,
	"uncovered": uncovered,
	"datagrams": datagrams,
	"path-race": pathRace,
	"link-race": linkRace,
	"beyond":    beyondFiles,
	"door":      door,
	"take":      take,
	"linger":    linger,
	"options":   options,
	"crowd":     crowd,
	"lend":      lend,
}

// Main runs a verb and returns the exit status.
func Main(arguments []string) int {
	if len(arguments) == 0 || verbs[arguments[0]] == nil {
		fmt.Println("unknown verb:", arguments)
		return 99
	}
	return verbs[arguments[0]](arguments[1:])
}

func say(what string, err error) { fmt.Printf("%s: %s\n", what, outcome.Of(err)) }

func brokerFD() int {
	fd, err := strconv.Atoi(os.Getenv("SANDBOX_BROKER_FD"))
	if err != nil {
		fmt.Println("no broker socket")
		os.Exit(98)
	}
	return fd
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func forever() { time.Sleep(time.Hour) }
