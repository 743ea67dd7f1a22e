package observe

import (
	"encoding/binary"
	"net/netip"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// sockets are what is remembered of sockets.
type sockets struct {
	chosen  map[[2]int]bool // process and descriptor: bound to a port of the kernel's choice
	servers map[[2]int]bool // process and descriptor: whether datagrams go out of a port that is listened on
	ports   map[string]bool // "udp:53": listened on
}

// socket writes down the address of a call.
func (r *run) socket(p *process, n *notification, name string) {
	fd := int(int32(n.arguments[0]))
	id := [2]int{p.id, fd}
	switch name {
	case "listen":
		if local, kind, ok := localAddress(p.id, fd); ok {
			text := r.text(n, local, kind)
			if r.chosen[id] || strings.HasSuffix(text, ":0") {
				text += " chosen"
			}
			p.entry.Sockets["listen "+text]++
		}
	case "bind":
		address, ok := r.address(n, n.arguments[1], n.arguments[2])
		if !ok {
			return
		}
		kind := socketKind(p.id, fd)
		text := r.text(n, address, kind)
		if text == "" {
			return
		}
		if strings.HasSuffix(text, ":0") {
			if r.chosen == nil {
				r.chosen = map[[2]int]bool{}
			}
			r.chosen[id] = true
			return
		}
		delete(r.chosen, id)
		if kind == unix.SOCK_DGRAM { // others listen
			p.entry.Sockets["listen "+text]++
			if r.ports == nil {
				r.ports = map[string]bool{}
			}
			r.ports[portOf(text)] = true
		}
	case "connect":
		if address, ok := r.address(n, n.arguments[1], n.arguments[2]); ok {
			r.reaches(p, "connect", r.text(n, address, socketKind(p.id, fd)))
		}
	case "sendto":
		r.sends(p, n, id, n.arguments[4], n.arguments[5], n.arguments[1])
	case "sendmsg", "sendmmsg":
		count := uint64(1)
		if name == "sendmmsg" {
			count = n.arguments[2]
		}
		for i := range min(count, 64) {
			// struct msghdr begins with the address, its length and the parts of
			// the message; struct mmsghdr has 64 bytes.
			var header [24]byte
			if !readMemory(int(n.pid), n.arguments[1]+64*i, header[:]) {
				r.missed++
				return
			}
			var message [8]byte
			if parts := binary.NativeEndian.Uint64(header[16:]); parts != 0 {
				readMemory(int(n.pid), parts, message[:]) // only netlink's matters: see below
			}
			r.sends(p, n, id, binary.NativeEndian.Uint64(header[:]), uint64(binary.NativeEndian.Uint32(header[8:])), binary.NativeEndian.Uint64(message[:]))
		}
		if count > 64 {
			r.missed++
		}
	}
}

// sends writes down where a datagram goes. The answers of a server go out of the
// port that it listens on, and to whoever asked.
func (r *run) sends(p *process, n *notification, id [2]int, pointer, length, message uint64) {
	if pointer == 0 {
		return
	}
	address, ok := r.address(n, pointer, length)
	if !ok {
		return
	}
	if binary.NativeEndian.Uint16(address) == unix.AF_NETLINK {
		var head [6]byte // struct nlmsghdr: length and type
		if readMemory(int(n.pid), message, head[:]) {
			p.entry.Arguments["netlink "+number(uint64(binary.NativeEndian.Uint16(head[4:])))]++
		} else {
			r.missed++
		}
		return
	}
	text := r.text(n, address, unix.SOCK_DGRAM)
	server, known := r.servers[id]
	if !known && strings.HasPrefix(text, "udp:") {
		local, kind, ok := localAddress(id[0], id[1])
		server = ok && (kind != unix.SOCK_DGRAM || r.ports[portOf(r.text(n, local, kind))])
		if r.servers == nil {
			r.servers = map[[2]int]bool{}
		}
		r.servers[id] = server
	}
	if !server {
		r.reaches(p, "send", text)
	}
}

func (r *run) reaches(p *process, verb, text string) {
	if text == "" {
		return
	}
	if _, file, isUnix := strings.Cut(text, ":/"); isUnix && strings.HasPrefix(text, "unix") {
		var st unix.Stat_t
		if unix.Stat("/"+file, &st) != nil {
			return // nobody is there
		}
	}
	p.entry.Sockets[verb+" "+text]++
}

// address reads a struct sockaddr.
func (r *run) address(n *notification, pointer, length uint64) ([]byte, bool) {
	const longest = 128 // struct sockaddr_storage
	if length < 2 || length > longest {
		return nil, false
	}
	b := make([]byte, length)
	if !readMemory(int(n.pid), pointer, b) {
		r.missed++
		return nil, false
	}
	return b, true
}

// text writes an address as policies do, "" where they cannot name it.
func (r *run) text(n *notification, b []byte, kind int) string {
	family := binary.NativeEndian.Uint16(b)
	network := map[int]string{unix.SOCK_STREAM: "tcp", unix.SOCK_DGRAM: "udp"}[kind]
	switch {
	case family == unix.AF_INET && len(b) >= 8 && network != "":
		return network + ":" + netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_INET6 && len(b) >= 24 && network != "":
		address := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		return network + ":" + netip.AddrPortFrom(address, binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_UNIX && len(b) > 2:
		network = "unix:"
		if kind == unix.SOCK_DGRAM {
			network = "unix-datagram:"
		}
		if b[2] == 0 {
			return network + "@" + string(b[3:])
		}
		name, _, _ := strings.Cut(string(b[2:]), "\x00")
		full, ok := r.absolute(n, name, pathArgument{directory: -1})
		if !ok {
			return ""
		}
		return network + path.Clean(full)
	}
	return ""
}

// portOf is the network and port of an address in words.
func portOf(text string) string {
	network, _, _ := strings.Cut(text, ":")
	return network + text[max(strings.LastIndexByte(text, ':'), 0):]
}

// fetch duplicates a descriptor of a process.
func fetch(pid, fd int) (int, bool) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, false
	}
	defer unix.Close(pidfd)
	mine, err := unix.PidfdGetfd(pidfd, fd, 0)
	return mine, err == nil
}

func socketKind(pid, fd int) int {
	mine, ok := fetch(pid, fd)
	if !ok {
		return -1
	}
	defer unix.Close(mine)
	kind, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return -1
	}
	return kind
}

// localAddress is the address that a socket of a process is bound to.
func localAddress(pid, fd int) (address []byte, kind int, ok bool) {
	mine, ok := fetch(pid, fd)
	if !ok {
		return nil, 0, false
	}
	defer unix.Close(mine)
	if kind, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		if local, err := unix.Getsockname(mine); err == nil {
			return encode(local), kind, true
		}
	}
	return nil, 0, false
}

// encode turns a socket's address back into the kernel's bytes.
func encode(address unix.Sockaddr) []byte {
	family := func(n int) []byte { return binary.NativeEndian.AppendUint16(nil, uint16(n)) }
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return append(binary.BigEndian.AppendUint16(family(unix.AF_INET), uint16(a.Port)), a.Addr[:]...)
	case *unix.SockaddrInet6:
		b := append(binary.BigEndian.AppendUint16(family(unix.AF_INET6), uint16(a.Port)), 0, 0, 0, 0)
		return append(b, a.Addr[:]...)
	case *unix.SockaddrUnix:
		if name, abstract := strings.CutPrefix(a.Name, "@"); abstract {
			return append(append(family(unix.AF_UNIX), 0), name...)
		}
		return append(family(unix.AF_UNIX), a.Name...)
	}
	return family(unix.AF_UNSPEC)
}
