package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// address is a socket's address as a policy writes it.
type address struct {
	network string // "tcp", "udp", "unix", "unix-datagram"
	address string // numeric IP address, path, or @name
	host    string // a name to resolve
	port    uint16
}

const addressForms = "write tcp:127.0.0.1:8080, tcp:[::1]:8080, udp:…, unix:/run/PATH or unix:@NAME"

// parseAddress reads an address. Only connections may name a host: a name that
// resolves differently tomorrow would move a listening socket.
func parseAddress(text string, listen bool) (a address, wrong, hint string) {
	network, rest, found := strings.Cut(text, ":")
	switch {
	case !found:
		return a, fmt.Sprintf("%q is not an address", brief(text)), addressForms
	case network == "unix" || network == "unix-datagram":
		return parseUnix(network, rest)
	case network != "tcp" && network != "udp":
		hint = addressForms
		if near := nearest(network, []string{"tcp", "udp", "unix", "unix-datagram"}); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near+":"+brief(rest))
		} else if _, err := netip.ParseAddr(network); err == nil || network == "localhost" || network == "" {
			hint = fmt.Sprintf("write %q", "tcp:"+brief(text))
		}
		return a, fmt.Sprintf("%q is not a kind of socket", brief(network)), hint
	}
	a.network = network
	host, port, wrong, hint := splitPort(network, rest)
	if wrong != "" {
		return a, wrong, hint
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return a, fmt.Sprintf("%q is not a port", brief(port)), "write a number from 1 to 65535"
	}
	a.port = uint16(number)
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return a, "an address with a zone belongs to one interface's name", "write the address without %" + ip.Zone()
		}
		a.address = ip.String()
		return a, "", ""
	}
	switch {
	case host == "*" || host == "":
		return a, "the address is missing", fmt.Sprintf("write %s:0.0.0.0:%s or %s:[::]:%s for every address of the machine", network, port, network, port)
	case listen && host == "localhost":
		return a, "a listening address must be a number", fmt.Sprintf("write %s:127.0.0.1:%s or %s:[::1]:%s", network, port, network, port)
	case listen:
		return a, fmt.Sprintf("a listening address must be a number, not the name %q", brief(host)), "write the address of an interface, as 127.0.0.1 or [::1]"
	case !hostnameWord(host):
		return a, fmt.Sprintf("%q is neither an address nor a host's name", brief(host)), addressForms
	}
	a.host = host
	return a, "", ""
}

func splitPort(network, rest string) (host, port, wrong, hint string) {
	if strings.HasPrefix(rest, "[") {
		host, port, found := strings.Cut(rest[1:], "]:")
		if !found {
			return "", "", fmt.Sprintf("%q is not an address", brief(rest)), fmt.Sprintf("write %s:[::1]:8080", network)
		}
		return host, port, "", ""
	}
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 {
		if _, err := strconv.ParseUint(rest, 10, 16); err == nil {
			return "", "", "the address is missing", fmt.Sprintf("write %s:127.0.0.1:%s, or %s:0.0.0.0:%s for every address", network, rest, network, rest)
		}
		return "", "", "the port is missing", fmt.Sprintf("write %s:%s:PORT", network, brief(rest))
	}
	if strings.Contains(rest[:colon], ":") {
		return "", "", "an IPv6 address stands in brackets", fmt.Sprintf("write %s:[%s]:%s", network, brief(rest[:colon]), brief(rest[colon+1:]))
	}
	return rest[:colon], rest[colon+1:], "", ""
}

func parseUnix(network, rest string) (a address, wrong, hint string) {
	// sun_path has 108 bytes, see unix(7); one is for the NUL.
	const longest = 107
	a = address{network: network, address: rest}
	switch {
	case strings.HasPrefix(rest, "@") && len(rest) > 1:
	case strings.HasPrefix(rest, "@"):
		return a, "the abstract socket has no name", "write unix:@NAME"
	default:
		if wrong, hint = checkPath(rest); wrong != "" {
			return a, wrong, hint
		}
		a.address = clean(rest)
	}
	if len(rest) > longest {
		return a, fmt.Sprintf("the socket's path has %d bytes; the kernel allows %d", len(rest), longest), ""
	}
	return a, "", ""
}
