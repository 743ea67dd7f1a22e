package plan

import (
	"net"
	"strconv"
)

// GrantKind is a kind of descriptor.
type GrantKind uint8

// The kinds of grant.
const (
	GrantFile GrantKind = iota + 1
	GrantDirectory
	GrantListen
	GrantConnect
	GrantDevice
	GrantChannel
)

// Grant is a named right to one kind of descriptor.
type Grant struct {
	Name     string    `json:"name"`
	Kind     GrantKind `json:"kind"`
	Path     string    `json:"path,omitempty"`    // file, directory, device
	Access   Access    `json:"access,omitempty"`  // file, directory, device
	Create   bool      `json:"create,omitempty"`  // file: made when it is not there
	Mode     uint32    `json:"mode,omitempty"`    // of files and unix sockets that are made
	Network  string    `json:"network,omitempty"` // "tcp", "udp", "unix", "unix-datagram"
	Address  string    `json:"address,omitempty"` // numeric IP address, or a path, or "@abstract"
	Host     string    `json:"host,omitempty"`    // connect: a name to resolve instead of Address
	Port     uint16    `json:"port,omitempty"`
	Backlog  int       `json:"backlog,omitempty"`
	Answers  Answers   `json:"answers,omitempty"` // listen, udp: to whom the socket may send
	Peer     string    `json:"peer,omitempty"`    // channel: the other component
	Position Position  `json:"position"`
}

// Socket is the address of a listening or connecting grant as a policy writes it:
// tcp:[::1]:8080, tcp:db.example.org:5432, unix:/run/x.
func (g *Grant) Socket() string {
	host := g.Address
	switch {
	case g.Network == "unix" || g.Network == "unix-datagram":
		return g.Network + ":" + g.Address
	case g.Host != "":
		host = g.Host
	}
	return g.Network + ":" + net.JoinHostPort(host, strconv.Itoa(int(g.Port)))
}

// Answers says to whom a listening socket for datagrams may send.
type Answers uint8

// The answers.
const (
	AnswerAskers Answers = iota + 1 // to whoever has sent something to it
	AnswerAnyone
)

// Binding is a grant in the hands of a component.
type Binding struct {
	Grant  int `json:"grant"`  // index into Plan.Grants
	Number int `json:"number"` // descriptor number at start, -1: on request only
}
