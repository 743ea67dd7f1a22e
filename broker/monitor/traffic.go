package monitor

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"bulkhead/policy/plan"
)

// connected says whether a granted listening socket has a connection that its
// program has accepted and not closed, or that waits to be accepted. The
// kernel says so in proc(5): connections have the listener's own address.
func connected(g *plan.Grant) (bool, error) {
	table, matches := "/proc/thread-self/net/unix", func(fields []string) bool { return unixConnection(fields, g.Address) }
	if g.Network == "tcp" {
		ip, err := netip.ParseAddr(g.Address)
		if err != nil {
			return false, err
		}
		table = "/proc/thread-self/net/tcp"
		if ip.Is6() {
			table = "/proc/thread-self/net/tcp6"
		}
		matches = func(fields []string) bool { return tcpConnection(fields, ip, g.Port) }
	}
	file, err := os.Open(table)
	if err != nil {
		return false, fmt.Errorf("look for connections: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if matches(strings.Fields(lines.Text())) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// tcpConnection reads a line of /proc/net/tcp: "0: 0100007F:1F90 …:… 01 … inode".
func tcpConnection(fields []string, ip netip.Addr, port uint16) bool {
	if len(fields) < 10 {
		return false
	}
	switch fields[3] {
	case "01", "03", "08": // established, half open, closed by the other side only
	case "04", "05": // closed by this side, which may still read while it holds the socket
		if fields[9] == "0" {
			return false
		}
	default:
		return false
	}
	address, number, _ := strings.Cut(fields[1], ":")
	if n, err := strconv.ParseUint(number, 16, 16); err != nil || uint16(n) != port {
		return false
	}
	local, ok := procAddress(address)
	return ok && (ip.IsUnspecified() || local == ip)
}

// procAddress reads an address of /proc/net/tcp: words of 32 bits, each as the
// host's byte order has it.
func procAddress(text string) (netip.Addr, bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return netip.AddrFromSlice(b)
}

// unixConnection reads a line of /proc/net/unix: "…: count 0 flags type state
// inode path". The listener itself is in state 01, a connection that waits to be
// accepted in 02, because no process has it yet, and an accepted one in 03.
func unixConnection(fields []string, path string) bool {
	return len(fields) >= 8 && (fields[5] == "02" || fields[5] == "03") && strings.Join(fields[7:], " ") == path
}
