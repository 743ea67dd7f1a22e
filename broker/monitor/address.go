package monitor

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// address is a socket address that was read from a worker's memory.
type address struct {
	family int
	ip     netip.Addr
	port   uint16
	path   string // AF_UNIX: a path, or "@" and an abstract name

	netlinkPort, netlinkGroups uint32 // AF_NETLINK
}

// maximumAddress is the size of struct sockaddr_storage; the kernel takes no
// longer ones.
const maximumAddress = 128

// parseAddress reads struct sockaddr_in, sockaddr_in6, sockaddr_un and
// sockaddr_nl (ip(7), ipv6(7), unix(7), netlink(7)).
func parseAddress(b []byte) (address, bool) {
	if len(b) < 2 {
		return address{}, false
	}
	a := address{family: int(binary.NativeEndian.Uint16(b))}
	switch a.family {
	case unix.AF_INET:
		if len(b) < 16 {
			return a, false
		}
		a.port = binary.BigEndian.Uint16(b[2:])
		a.ip = netip.AddrFrom4([4]byte(b[4:8]))
		return a, true
	case unix.AF_INET6:
		if len(b) < 24 {
			return a, false
		}
		a.port = binary.BigEndian.Uint16(b[2:])
		a.ip = netip.AddrFrom16([16]byte(b[8:24]))
		return a, true
	case unix.AF_NETLINK:
		if len(b) < 12 {
			return a, false
		}
		a.netlinkPort = binary.NativeEndian.Uint32(b[4:])
		a.netlinkGroups = binary.NativeEndian.Uint32(b[8:])
		return a, true
	case unix.AF_UNIX:
		name := b[2:]
		if len(name) > 0 && name[0] == 0 {
			a.path = "@" + string(name[1:]) // abstract: every byte counts
			return a, true
		}
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		a.path = string(name)
		return a, len(name) > 0
	}
	return a, false
}

// is compares with a grant's address; a mapped IPv4 address is the IPv4 one.
func (a address) is(granted string, port uint16) bool {
	if a.family != unix.AF_INET && a.family != unix.AF_INET6 {
		return false
	}
	ip, err := netip.ParseAddr(granted)
	return err == nil && a.ip.Unmap() == ip.Unmap() && a.port == port
}

// any says whether this is no address at all: what a client binds to before
// it connects.
func (a address) any() bool {
	return (a.family == unix.AF_INET || a.family == unix.AF_INET6) && a.port == 0 && a.ip.IsUnspecified()
}

func (a address) sockaddr() unix.Sockaddr {
	switch {
	case a.family == unix.AF_UNIX:
		return &unix.SockaddrUnix{Name: a.path}
	case a.family == unix.AF_NETLINK:
		return &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: a.netlinkPort, Groups: a.netlinkGroups}
	case a.family == unix.AF_INET:
		return &unix.SockaddrInet4{Port: int(a.port), Addr: a.ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.port), Addr: a.ip.As16()}
}

// text writes the address as a policy would.
func (a address) text(socket int) string {
	if a.family == unix.AF_UNIX {
		if socket == unix.SOCK_DGRAM {
			return "unix-datagram:" + a.path
		}
		return "unix:" + a.path
	}
	if a.family == unix.AF_NETLINK {
		return "netlink"
	}
	network := "tcp:"
	if socket == unix.SOCK_DGRAM {
		network = "udp:"
	}
	return network + netip.AddrPortFrom(a.ip, a.port).String()
}
