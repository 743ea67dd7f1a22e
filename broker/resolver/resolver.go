// Package resolver asks name servers what the names of grants stand for, again
// and again, and tells the monitor. It is a component like others: what it
// reads comes from the network, and it may reach the name servers and tell the
// monitor addresses of names that grants have, and nothing else.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

const (
	// patience bounds one look-up, whatever the servers do.
	patience = 15 * time.Second
	// afterFailure is the wait after a look-up without an answer.
	afterFailure = 5 * time.Second
	// maximumAddresses is how many addresses of a name count.
	maximumAddresses = 16
)

// Run looks names up until the monitor is gone. The arguments: the seconds
// from one look-up to the next, the servers (ADDRESS:PORT), "--", the names.
func Run(arguments []string) int {
	socket, err := strconv.Atoi(os.Getenv("SANDBOX_BROKER_FD"))
	if err != nil || len(arguments) < 1 {
		fmt.Fprintln(os.Stderr, "resolver: the monitor starts this")
		return 1
	}
	unix.CloseOnExec(socket)
	seconds, err := strconv.Atoi(arguments[0])
	if err != nil || seconds < 1 {
		fmt.Fprintf(os.Stderr, "resolver: %q is no number of seconds\n", arguments[0])
		return 1
	}
	r := &resolver{socket: socket, refresh: time.Duration(seconds) * time.Second}
	r.lookup = &net.Resolver{PreferGo: true, Dial: r.dial}
	rest := arguments[1:]
	for ; len(rest) > 0 && rest[0] != "--"; rest = rest[1:] {
		server, err := netip.ParseAddrPort(rest[0])
		if err != nil {
			fmt.Fprintf(os.Stderr, "resolver: %v\n", err)
			return 1
		}
		r.servers = append(r.servers, server)
	}
	if len(rest) > 0 {
		for _, name := range rest[1:] {
			go r.follow(name)
		}
	}
	// The monitor's replies say nothing that is not known; its end is.
	var b [wire.MaximumSize]byte
	for {
		n, err := unix.Read(socket, b[:])
		if n == 0 || err != nil && err != unix.EINTR {
			return 0
		}
	}
}

type resolver struct {
	socket  int
	refresh time.Duration
	servers []netip.AddrPort
	lookup  *net.Resolver
}

// dial goes to the server's own port: resolv.conf(5), which the library reads,
// has no place for it.
func (r *resolver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if asked, err := netip.ParseAddrPort(address); err == nil {
		for _, server := range r.servers {
			if server.Addr() == asked.Addr() {
				address = server.String()
			}
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// follow looks a name up again and again.
func (r *resolver) follow(name string) {
	for id := uint32(1); ; id++ {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		found, err := r.lookup.LookupNetIP(ctx, "ip", name)
		cancel()
		r.tell(name, found, err, id)
		wait := r.refresh
		if err != nil {
			wait = min(wait, afterFailure)
		}
		time.Sleep(wait)
	}
}

func (r *resolver) tell(name string, found []netip.Addr, err error, id uint32) {
	why := ""
	if err != nil {
		found, why = nil, reason(err)
	}
	found = found[:min(len(found), maximumAddresses)]
	var m wire.Message
	m.Begin(wire.Header{Kind: wire.Request, Op: wire.Resolved, ID: id})
	m.String(name).String(why).U16(uint16(len(found)))
	for _, ip := range found {
		m.String(ip.WithZone("").String())
	}
	b, err := m.Bytes()
	if err != nil {
		return
	}
	unix.Sendmsg(r.socket, b, nil, nil, unix.MSG_NOSIGNAL) // an error is the monitor's end, which the reader sees
}

// reason is what a person wants to know of an error.
func reason(err error) string {
	var failed *net.DNSError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err.Error()
}
