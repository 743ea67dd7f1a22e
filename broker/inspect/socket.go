package inspect

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Socket is what a socket is and whom it talks to.
type Socket struct {
	Family    string `json:"family"` // inet, inet6, unix, netlink, packet, vsock, or a number
	Type      string `json:"type"`   // stream, datagram, seqpacket, raw
	Protocol  int    `json:"protocol"`
	Listening bool   `json:"listening,omitempty"`
	Local     string `json:"local,omitempty"` // as a policy writes addresses
	Peer      string `json:"peer,omitempty"`
	PeerPID   int    `json:"peer-pid,omitempty"` // unix: who connected, or made the pair
	Namespace uint64 `json:"network-namespace,omitempty"`
	Host      bool   `json:"host"` // of the inspector's own network namespace

	local, peer endpoint
}

// endpoint is a socket address, for comparing.
type endpoint struct {
	address netip.AddrPort
	path    string // AF_UNIX, "@…" for abstract
}

func (i *Inspector) socket(p *Process, pidfd, number int) (*Socket, error) {
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	// Closed at once: as long as it is open, the peer sees no end.
	defer unix.Close(fd)
	s := &Socket{}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt(SO_DOMAIN)", err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt(SO_TYPE)", err)
	}
	s.Protocol, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	s.Family, s.Type = familyName(family), typeName(kind)
	accepts, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	s.Listening = accepts == 1
	if a, err := unix.Getsockname(fd); err == nil {
		s.Local, s.local = addressText(a, s.Type)
	}
	if a, err := unix.Getpeername(fd); err == nil {
		s.Peer, s.peer = addressText(a, s.Type)
	}
	if family == unix.AF_UNIX && !s.Listening {
		if credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			s.PeerPID = max(int(credentials.Pid), 0)
		}
	}
	if space, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS); err == nil {
		var st unix.Stat_t
		if unix.Fstat(space, &st) == nil {
			s.Namespace = st.Ino
			s.Host = st.Ino == i.host["net"]
		}
		unix.Close(space)
	}
	return s, nil
}

func familyName(family int) string {
	switch family {
	case unix.AF_INET:
		return "inet"
	case unix.AF_INET6:
		return "inet6"
	case unix.AF_UNIX:
		return "unix"
	case unix.AF_NETLINK:
		return "netlink"
	case unix.AF_PACKET:
		return "packet"
	case unix.AF_VSOCK:
		return "vsock"
	case unix.AF_ALG:
		return "alg"
	}
	return fmt.Sprint(family)
}

func typeName(kind int) string {
	switch kind {
	case unix.SOCK_STREAM:
		return "stream"
	case unix.SOCK_DGRAM:
		return "datagram"
	case unix.SOCK_SEQPACKET:
		return "seqpacket"
	case unix.SOCK_RAW:
		return "raw"
	}
	return fmt.Sprint(kind)
}

// addressText writes an address as a policy would.
func addressText(a unix.Sockaddr, kind string) (string, endpoint) {
	network := "tcp:"
	if kind != "stream" {
		network = "udp:"
	}
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		e := endpoint{address: netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))}
		return network + e.address.String(), e
	case *unix.SockaddrInet6:
		e := endpoint{address: netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))}
		return network + e.address.String(), e
	case *unix.SockaddrUnix:
		if a.Name == "" || a.Name == "@" { // no name
			return "", endpoint{}
		}
		name := a.Name
		if name[0] == '@' && len(name) > 1 && !printable(name) {
			name = "@" + hex.EncodeToString([]byte(name[1:]))
		}
		return "unix:" + name, endpoint{path: a.Name}
	}
	return "", endpoint{}
}

// printable guards terminals: anybody may choose an abstract socket's name.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
