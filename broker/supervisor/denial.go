package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// deniedKinds is how many different denials are kept; more are only counted.
const deniedKinds = 1024

// denials are grouped by component, call, object and answer: a program that
// tries the same thing a million times is one line with a number.
type denials struct {
	order []*control.Denial
	kinds map[control.Denial]*control.Denial // by a Denial without numbers
	more  uint64
}

// count adds what was refused and says whether it is the first of its kind.
func (d *denials) count(kind control.Denial, times uint64) bool {
	known := d.kinds[kind]
	if known == nil && len(d.order) >= deniedKinds {
		d.more += times
		return false
	}
	first := known == nil
	if first {
		if d.kinds == nil {
			d.kinds = make(map[control.Denial]*control.Denial)
		}
		one := kind
		known = &one
		d.kinds[kind] = known
		d.order = append(d.order, known)
	}
	known.Count += times
	known.Last = time.Now()
	return first
}

func (s *Supervisor) denied(e denied) {
	c := s.components[e.component]
	c.denied += uint64(e.times)
	kind := control.Denial{
		Component: c.plan.Name,
		Tried:     tried(e),
		Answer:    errnoName(e.errno),
		Allow:     s.allow(c, e),
	}
	first := s.denials.count(kind, uint64(e.times))
	event := control.Event{Kind: control.EventDenied, Component: c.plan.Name, Worker: e.worker, Text: kind.Tried, Allow: kind.Allow}
	if !first {
		s.journal.tell(event)
		return
	}
	s.journal.add(event)
	if s.plan.Quiet {
		return
	}
	if passed, ok := c.quietDenials.allow(time.Now()); ok {
		if passed > 0 {
			s.tell(c, fmt.Sprintf("%d more kinds of denial; sandbox status lists them", passed))
		}
		s.tell(c, fmt.Sprintf("denied: %s: %s; to allow it: %s", kind.Tried, kind.Answer, kind.Allow))
	}
}

func (s *Supervisor) granted(e granted) {
	c := s.components[e.component]
	name := ""
	if int(e.grant) < len(s.plan.Grants) {
		name = s.plan.Grants[e.grant].Name
	}
	s.journal.tell(control.Event{Kind: control.EventGranted, Component: c.plan.Name, Worker: e.worker, Text: strings.TrimSpace(name + " " + e.object)})
	for i := range c.grants {
		if c.grants[i].Name == name {
			c.grants[i].Count += uint64(e.times)
			c.grants[i].Last = e.object
			return
		}
	}
	c.grants = append(c.grants, control.Grant{Name: name, Count: uint64(e.times), Last: e.object})
}

// tried says what was tried as strace(1) would: the arguments that decide are
// there, the others are dots. For a request on the broker socket, which is no
// system call, the object says it all.
func tried(e denied) string {
	name := calls.Name(int(int32(e.call)))
	if name == "" {
		if e.object != "" {
			return e.object
		}
		return "system call " + strconv.Itoa(int(e.call))
	}
	arguments := "..."
	switch name {
	case "socket", "socketpair":
		arguments = family(e.arguments[0]) + ", " + socketType(e.arguments[1]) + ", ..."
	case "ioctl", "fcntl":
		arguments = fmt.Sprintf("..., %#x, ...", uint32(e.arguments[1]))
	case "prctl", "personality", "ptrace", "bpf", "unshare", "clone", "arch_prctl":
		arguments = fmt.Sprintf("%#x, ...", e.arguments[0])
	}
	text := name + "(" + arguments + ")"
	if e.object != "" && e.object != name {
		text += " " + e.object
	}
	return text
}

// allow is the policy line that would allow it.
func (s *Supervisor) allow(c *component, e denied) string {
	call := calls.Name(int(int32(e.call)))
	verb, object, _ := strings.Cut(e.object, " ")
	switch {
	case call == "":
		return s.allowRequest(c, verb, object, e.errno)
	case call == "socket" && (e.arguments[0] == unix.AF_INET || e.arguments[0] == unix.AF_INET6) && !s.hasNetwork(c):
		return fmt.Sprintf("a grant of an address: grants.NAME: {connect: ADDRESS} and components.%s.grants: [NAME]", c.plan.Name)
	case call == "socket":
		return allowSocket(c, e)
	case object == "" && s.lends(c, call, e.arguments):
		return allowedByNothing
	case object == "":
	case verb == "write", verb == "read", verb == "leave", verb == "special":
		return s.allowPath(c, verb, object)
	case verb == "listen" && s.hasConnectionsOf(c, object):
		return allowedByNothing // it has what is granted: one connection
	case verb == "listen", verb == "connect":
		return fmt.Sprintf("grants.NAME: {%s: %q} and components.%s.grants: [NAME]", verb, object, c.plan.Name)
	case verb == "open":
		key := "read"
		if wantsToWrite(e) {
			key = "write"
		}
		return fmt.Sprintf("components.%s.files: {%s: [%s]}", c.plan.Name, key, word(object))
	}
	return fmt.Sprintf("components.%s.syscalls: [%s]", c.plan.Name, call)
}

// allowPath is allow for a call on a path beneath one of the component's grants,
// as transparent components make them: what was wanted, and the path.
func (s *Supervisor) allowPath(c *component, wanted, path string) string {
	if wanted == "leave" {
		return "a grant for what the link or mount there leads to"
	}
	nearest := plan.Grant{}
	for _, b := range c.plan.Grants {
		g := &s.plan.Grants[b.Grant]
		beneath := path == g.Path || strings.HasPrefix(path, strings.TrimSuffix(g.Path, "/")+"/")
		if g.Path != "" && beneath && len(g.Path) > len(nearest.Path) {
			nearest = *g
		}
	}
	if wanted == "special" || nearest.Name == "" {
		return allowedByNothing
	}
	return fmt.Sprintf("grants.%s.access: read-write", nearest.Name)
}

// lends says whether a call would set bits by which a file lends its user or
// group, in a component that may write to granted files.
func (s *Supervisor) lends(c *component, call string, arguments [3]uint64) bool {
	mode, ok := calls.Mode(call)
	return ok && arguments[mode]&(unix.S_ISUID|unix.S_ISGID) != 0 && slices.ContainsFunc(c.plan.Grants, func(b plan.Binding) bool {
		return s.plan.Grants[b.Grant].Access&(plan.Write|plan.Append) != 0
	})
}

// hasConnectionsOf says whether a component's workers get the connections of a
// socket, one each.
func (s *Supervisor) hasConnectionsOf(c *component, socket string) bool {
	return c.plan.Start == plan.PerConnection && slices.ContainsFunc(c.plan.Grants, func(b plan.Binding) bool {
		g := &s.plan.Grants[b.Grant]
		return g.Kind == plan.GrantListen && b.Number >= 0 && g.Socket() == socket
	})
}

// hasNetwork says whether a component has any grant of an internet address. One
// that has none is refused the socket already, before it says what address the
// socket is for.
func (s *Supervisor) hasNetwork(c *component) bool {
	for _, b := range c.plan.Grants {
		if network := s.plan.Grants[b.Grant].Network; network == "tcp" || network == "udp" {
			return true
		}
	}
	return c.plan.HostNetwork
}

// allowSocket is allow for a socket: to allow the call alone would make one that
// reaches nothing.
func allowSocket(c *component, e denied) string {
	network := map[string]string{"SOCK_STREAM": "tcp:ADDRESS:PORT", "SOCK_DGRAM": "udp:ADDRESS:PORT"}[socketType(e.arguments[1])]
	switch e.arguments[0] {
	case unix.AF_UNIX:
		network = "unix:/PATH"
		if socketType(e.arguments[1]) == "SOCK_DGRAM" {
			network = "unix-datagram:/PATH"
		}
	case unix.AF_INET, unix.AF_INET6:
	case unix.AF_NETLINK:
		if e.arguments[2] == unix.NETLINK_ROUTE {
			return fmt.Sprintf("components.%s.syscalls: [\"@netlink-route\"]", c.plan.Name)
		}
		return "nothing in a policy allows it"
	default: // of its own network, which is empty
		return fmt.Sprintf("components.%s.syscalls: [{call: socket, argument: 0, equal: %d}]", c.plan.Name, uint32(e.arguments[0]))
	}
	return fmt.Sprintf("a grant of an address: grants.NAME: {connect: %q} and components.%s.grants: [NAME]", network, c.plan.Name)
}

// allowRequest is allow for a request on the broker socket, whose object is a
// grant's name, with a path behind it where it opens a file.
func (s *Supervisor) allowRequest(c *component, verb, object string, errno syscall.Errno) string {
	switch verb {
	case "start":
		return fmt.Sprintf("components.%s.may-start: [%s]", c.plan.Name, word(object))
	case "open", "listen", "connect":
		name, _, _ := strings.Cut(object, "/")
		for _, b := range c.plan.Grants {
			if s.plan.Grants[b.Grant].Name != name {
				continue
			}
			if verb == "open" && errno == unix.EACCES {
				return fmt.Sprintf("grants.%s.access: read-write", name) // it has it, but not for that
			}
			return allowedByNothing // what is asked is not in what is granted
		}
		return fmt.Sprintf("components.%s.grants: [%s]", c.plan.Name, word(name))
	case "pass":
		return s.allowPass(object)
	case "enter":
		return fmt.Sprintf("components.%s.files: {read: [%s]}", c.plan.Name, word(object))
	}
	return allowedByNothing
}

// allowPass is allow for a descriptor that did not pass to what was executed:
// "KIND to COMPONENT", with the path of a directory behind it.
func (s *Supervisor) allowPass(object string) string {
	object, path, _ := strings.Cut(object, ": ")
	words := strings.Fields(object)
	if len(words) != 3 {
		return allowedByNothing
	}
	var to *plan.Component
	for i := range s.plan.Components {
		if s.plan.Components[i].Name == words[2] {
			to = &s.plan.Components[i]
		}
	}
	if to == nil || words[0] != "directory" && !slices.Contains(plan.PassWords, words[0]) {
		return allowedByNothing
	}
	if words[0] == "directory" {
		return fmt.Sprintf("components.%s.pass.directories: [%s]", to.Name, word(path))
	}
	var kinds []string
	for i, kind := range plan.PassWords {
		if to.Pass.Descriptors>>i&1 == 1 || kind == words[0] {
			kinds = append(kinds, kind)
		}
	}
	return fmt.Sprintf("components.%s.pass.descriptors: [%s]", to.Name, strings.Join(kinds, ", "))
}

const allowedByNothing = "nothing in a policy allows it"

// word writes what a worker named as one word of YAML, whatever is in it.
func word(text string) string {
	plain := text != ""
	for _, b := range []byte(text) {
		plain = plain && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("/._+-", b) >= 0)
	}
	if plain {
		return text
	}
	return strconv.Quote(text)
}

// wantsToWrite reads the flags of open(2) and openat(2).
func wantsToWrite(e denied) bool {
	flags := uint64(0)
	switch calls.Name(int(int32(e.call))) {
	case "open":
		flags = e.arguments[1]
	case "openat":
		flags = e.arguments[2]
	case "creat":
		return true
	}
	return flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC) != 0
}

// family names the address families that programs ask for; see
// address_families(7).
func family(number uint64) string {
	switch number {
	case unix.AF_UNIX:
		return "AF_UNIX"
	case unix.AF_INET:
		return "AF_INET"
	case unix.AF_INET6:
		return "AF_INET6"
	case unix.AF_NETLINK:
		return "AF_NETLINK"
	case unix.AF_PACKET:
		return "AF_PACKET"
	case unix.AF_ALG:
		return "AF_ALG"
	case unix.AF_VSOCK:
		return "AF_VSOCK"
	case unix.AF_BLUETOOTH:
		return "AF_BLUETOOTH"
	}
	return strconv.FormatUint(number, 10)
}

func socketType(number uint64) string {
	switch number &^ (unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC) {
	case unix.SOCK_STREAM:
		return "SOCK_STREAM"
	case unix.SOCK_DGRAM:
		return "SOCK_DGRAM"
	case unix.SOCK_RAW:
		return "SOCK_RAW"
	case unix.SOCK_SEQPACKET:
		return "SOCK_SEQPACKET"
	}
	return strconv.FormatUint(number, 10)
}

func errnoName(errno syscall.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return "errno " + strconv.Itoa(int(errno))
}
