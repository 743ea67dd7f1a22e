package inspect

import (
	"net/netip"
	"strings"

	"bulkhead/policy/plan"
)

// grantExplains compares a socket's addresses with a grant's.
func grantExplains(g *plan.Grant, s *Socket) bool {
	switch g.Kind {
	case plan.GrantListen:
		return networkMatches(g.Network, s) && addressMatches(g, s.local)
	case plan.GrantConnect:
		return networkMatches(g.Network, s) && !s.Listening && addressMatches(g, s.peer)
	}
	return false
}

func networkMatches(network string, s *Socket) bool {
	switch network {
	case "tcp":
		return strings.HasPrefix(s.Family, "inet") && s.Type == "stream"
	case "udp":
		return strings.HasPrefix(s.Family, "inet") && s.Type == "datagram"
	case "unix":
		return s.Family == "unix" && s.Type != "datagram"
	case "unix-datagram":
		return s.Family == "unix" && s.Type == "datagram"
	}
	return false
}

func addressMatches(g *plan.Grant, e endpoint) bool {
	if strings.HasPrefix(g.Network, "unix") {
		return e.path != "" && e.path == g.Address
	}
	if e.address.Port() != g.Port || !e.address.IsValid() {
		return false
	}
	if g.Host != "" {
		return true // what the name stood for when it was resolved is not known
	}
	granted, err := netip.ParseAddr(g.Address)
	if err != nil {
		return false
	}
	// A socket that listens on every address accepts on one of them.
	return granted.IsUnspecified() || e.address.Addr().Unmap() == granted.Unmap()
}

// grantKinds are the words of the policy for what a grant is of.
var grantKinds = map[plan.GrantKind]string{
	plan.GrantListen: "listen", plan.GrantConnect: "connect", plan.GrantFile: "file",
	plan.GrantDirectory: "directory", plan.GrantDevice: "device", plan.GrantChannel: "channel",
}

// grantWords says what a grant allows.
func grantWords(g *plan.Grant) string {
	switch g.Kind {
	case plan.GrantFile:
		return accessWords(g.Access) + " the file " + g.Path
	case plan.GrantDirectory:
		return accessWords(g.Access) + " files in " + g.Path
	case plan.GrantDevice:
		return accessWords(g.Access) + " the device " + g.Path
	case plan.GrantListen:
		return "listen on " + g.Socket()
	case plan.GrantConnect:
		return "connect to " + g.Socket()
	}
	return "talk to " + g.Peer
}

func accessWords(a plan.Access) string {
	switch {
	case a&plan.Write != 0 && a&plan.Read != 0:
		return "read and write"
	case a&plan.Write != 0:
		return "write"
	case a&plan.Append != 0:
		return "append to"
	}
	return "read"
}
