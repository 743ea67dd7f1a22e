// Package reach has what the cgroup programs decide by: which component may
// use which address, in the layout of the kernel's maps. The builder makes the
// maps and the programs (package sandbox); the monitor holds two of the maps,
// adds addresses of names, and reads what was refused.
//
// It links neither a BPF library nor libcontainer, because the monitor links it.
package reach

import (
	"encoding/binary"
	"net/netip"

	"bulkhead/policy/plan"
)

// Use is what a component does with an address.
type Use uint8

// The uses.
const (
	Bind   Use = iota + 1 // bind(2)
	Send                  // connect(2), sendto(2) and their like
	Answer                // send to whoever asked, from the granted port
)

// The protocols of IP that have addresses of this kind (ip(7)).
const (
	TCP = 6
	UDP = 17
)

// Key is a key of the map of what is allowed. Its bytes are compared as they
// are: Bytes is the layout, KeySize its length.
type Key struct {
	Component uint32
	Protocol  uint8
	Use       Use
	Port      uint16
	IP        netip.Addr // IPv4 or IPv6; none for Answer
}

// KeySize is the size of a key, of Key.Bytes, Asker and Refusal alike.
const KeySize = 24

// Bytes is the key as the programs build it: the port as it stands in a packet,
// but for Answer as a number, because the program has its own socket's port so.
func (k Key) Bytes() [KeySize]byte {
	var b [KeySize]byte
	binary.NativeEndian.PutUint32(b[0:], k.Component)
	b[4], b[5] = k.Protocol, uint8(k.Use)
	if k.Use == Answer {
		binary.NativeEndian.PutUint16(b[6:], k.Port)
		return b
	}
	binary.BigEndian.PutUint16(b[6:], k.Port)
	ip := k.IP.As16() // an IPv4 address mapped
	copy(b[8:], ip[:])
	return b
}

// ComponentOf is the component of a key.
func ComponentOf(key [KeySize]byte) uint32 { return binary.NativeEndian.Uint32(key[0:]) }

// What stands behind a key of use Answer.
const (
	Askers = 1 // to those who have sent something
	Anyone = 2 // to anybody
)

// Everything is the number of a component whose addresses nobody limits: the
// monitor itself, and components in the host's network.
const Everything = ^uint32(0)

// Rule is one thing that is allowed.
type Rule struct {
	Key   Key
	Value uint32
}

// Rules are what the plan allows to a component. Names have no address yet:
// the monitor adds what they resolve to.
func Rules(p *plan.Plan, component int) []Rule {
	var all []Rule
	for _, b := range p.Components[component].Grants {
		g := &p.Grants[b.Grant]
		ip, err := netip.ParseAddr(g.Address)
		if err != nil {
			continue
		}
		key, ok := KeyOf(g, p.Components[component].Number, ip)
		if !ok {
			continue
		}
		all = append(all, Rule{key, 1})
		if key.Use == Bind && key.Protocol == UDP {
			key.Use = Answer
			all = append(all, Rule{key, answerValue(g)})
		}
	}
	return all
}

// KeyOf is the key of an address that a grant gives to a component; of a name's
// grant, one of its addresses.
func KeyOf(g *plan.Grant, component int, ip netip.Addr) (Key, bool) {
	protocol, ok := protocolOf(g)
	key := Key{Component: uint32(component), Protocol: protocol, Use: Bind, Port: g.Port, IP: ip}
	if g.Kind == plan.GrantConnect {
		key.Use = Send
	}
	return key, ok
}

func answerValue(g *plan.Grant) uint32 {
	if g.Answers == plan.AnswerAnyone {
		return Anyone
	}
	return Askers
}

func protocolOf(g *plan.Grant) (uint8, bool) {
	if g.Kind != plan.GrantListen && g.Kind != plan.GrantConnect {
		return 0, false
	}
	switch g.Network {
	case "tcp":
		return TCP, true
	case "udp":
		return UDP, true
	}
	return 0, false
}

// Limited says whether a component has sockets of the host's network whose
// addresses are limited, and whether it may send datagrams from them, which
// nothing else limits.
func Limited(p *plan.Plan, component int) (limited, datagrams bool) {
	c := &p.Components[component]
	if c.HostNetwork {
		return false, false
	}
	for _, b := range c.Grants {
		if protocol, ok := protocolOf(&p.Grants[b.Grant]); ok {
			limited = true
			datagrams = datagrams || protocol == UDP
		}
	}
	return limited, datagrams
}
