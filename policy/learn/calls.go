package learn

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// Arguments are the calls of which a filter looks at arguments, with which of
// them a record has, in their order.
var Arguments = map[string][]int{
	"ioctl": {1}, "fcntl": {1}, "socket": {0, 1, 2}, "socketpair": {0}, "clone": {0}, "personality": {0}, "prlimit64": {0, 1}, "mknod": {1}, "mknodat": {2},
	"setuid": {0}, "setgid": {0}, "setreuid": {0, 1}, "setregid": {0, 1}, "setresuid": {0, 1, 2}, "setresgid": {0, 1, 2},
	"sendto": {3}, "sendmsg": {2}, "sendmmsg": {3},
}

// Absent are the calls that no policy can allow. They answer that they do not
// exist, also while a program is observed: it then does what it will do later.
func Absent() []string { return group("absent") }

func group(name string) []string {
	for _, g := range policy.CallGroups() {
		if g.Name == name {
			return g.Calls
		}
	}
	return nil
}

// Numbers of the kernel, each with where it is defined.
const (
	familyUnix    = 1          // socket(2)
	familyIPv4    = 2          //
	familyIPv6    = 10         //
	familyNetlink = 16         //
	cloneNew      = 0x7e020000 // the CLONE_NEW… of clone(2)
)

// called names the system calls that the plan does not allow yet.
func (c *component) called() {
	rules := map[string][]plan.Rule{}
	for _, r := range c.planned().Syscalls.Rules {
		rules[r.Call] = append(rules[r.Call], r)
	}
	missing := map[string]uint64{}
	var identity []string
	for _, call := range sortedKeys(c.program.Calls) {
		count := c.program.Calls[call]
		switch {
		case call == "unknown":
			c.note("system calls were made that this sandbox does not know; they will answer ENOSYS")
		case slices.Contains(c.options.Denied, call):
			c.note("%s was denied, as the policy says", call)
		case len(rules[call]) == 0 && c.changesUser(call):
			identity = append(identity, call)
		case slices.Contains(Absent(), call) || c.leftOut(call):
		case len(rules[call]) == 0:
			missing[call] = count
		}
	}
	if len(identity) > 0 {
		c.note("%s: left out, because it was started as root to change its user, which it is from the start here", strings.Join(identity, ", "))
	}
	for _, text := range sortedKeys(c.program.Arguments) {
		call, values := parseArguments(text)
		if call == "socket" && values[0] == familyNetlink && values[2] == 0 {
			if c.needsNetlink() && !lets(rules[call], values) {
				c.socketCall(values, c.program.Arguments[text])
			}
			continue
		}
		if slices.Contains(c.options.Denied, call) {
			continue
		}
		if len(rules[call]) > 0 && !allowed(rules[call], values) {
			c.condition(call, values, c.program.Arguments[text])
			delete(missing, call)
		}
	}
	for _, call := range []string{"socket", "ioctl"} {
		if missing[call] > 0 { // named by what it was called with
			for _, text := range sortedKeys(c.program.Arguments) {
				if name, values := parseArguments(text); name == call {
					c.condition(call, values, c.program.Arguments[text])
				}
			}
			delete(missing, call)
		}
	}
	c.named(missing)
}

// changesUser says that a call is one of those that change ids, of a program
// that was root only for that.
func (c *component) changesUser(call string) bool {
	return c.options.Base == "" && c.startedAs() == 0 && c.became() != 0 && slices.Contains(group("identity"), call)
}

// leftOut says that a call is for root alone.
func (c *component) leftOut(call string) bool {
	if c.startedAs() != 0 || c.user == "root" || c.options.Base != "" || !slices.Contains(group("privileged"), call) {
		return false
	}
	c.note("%s is left out: it needs privileges that a component has not", call)
	return true
}

// parseArguments reads "ioctl 0x5413".
func parseArguments(text string) (call string, values map[uint]uint64) {
	fields := strings.Fields(text)
	values = map[uint]uint64{}
	for i, argument := range Arguments[fields[0]] {
		if i+1 >= len(fields) {
			break
		}
		if fields[i+1] == "-1" {
			values[uint(argument)] = 0xffffffff
		} else if value, err := strconv.ParseUint(fields[i+1], 0, 32); err == nil {
			values[uint(argument)] = value
		}
	}
	return fields[0], values
}

// allowed says whether rules let a call pass, with arguments of 32 bits; what
// they answer themselves is no denial either.
func allowed(rules []plan.Rule, values map[uint]uint64) bool {
	return slices.ContainsFunc(rules, func(r plan.Rule) bool { return applies(r, values) })
}

// lets is allowed without those that are answered by an error.
func lets(rules []plan.Rule, values map[uint]uint64) bool {
	return slices.ContainsFunc(rules, func(r plan.Rule) bool { return r.Action != plan.Errno && applies(r, values) })
}

func applies(r plan.Rule, values map[uint]uint64) bool {
	for _, condition := range r.Conditions {
		value, known := values[condition.Argument]
		if !known || !condition.Holds(value) {
			return false
		}
	}
	return true
}

// needsNetlink says whether the program asks for the network's interfaces
// itself. When names are looked up, libc asks for addresses, with a socket of
// its own kind, and goes on without an answer.
func (c *component) needsNetlink() bool {
	const libcKind = 3 | 0x80000 // SOCK_RAW | SOCK_CLOEXEC
	for text := range c.program.Arguments {
		if text == "netlink 22" { // RTM_GETADDR, rtnetlink(7)
			continue
		}
		call, values := parseArguments(text)
		if call == "netlink" || call == "socket" && values[0] == familyNetlink && values[1] != libcKind {
			return true
		}
	}
	return false
}

// condition names a call with an argument.
func (c *component) condition(call string, values map[uint]uint64, count uint64) {
	switch call {
	case "ioctl":
		request := values[1]
		if terminalRequests[request] {
			c.call(`"@terminal"`, seenTimes(count)+", to set a terminal's modes")
			return
		}
		c.call(fmt.Sprintf("{call: ioctl, argument: 1, equal: %#x}", request), seenTimes(count))
	case "socket":
		c.socketCall(values, count)
	case "socketpair":
		c.note("socketpair of family %d is left out: no policy can allow it", values[0])
	case "clone":
		if values[0]&cloneNew != 0 {
			c.note("it makes namespaces of its own (clone %#x), which is left out: no component may", values[0])
		}
	case "sendto", "sendmsg", "sendmmsg":
		// TCP fast open: programs connect as ever where it is off.
	case "mknod", "mknodat":
		c.note("%s of a device or file is left out: the call can be allowed for FIFOs", call)
	case "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid":
	default:
		for _, argument := range Arguments[call][:1] {
			c.call(fmt.Sprintf("{call: %s, argument: %d, equal: %#x}", call, argument, values[uint(argument)]), seenTimes(count))
		}
	}
}

func (c *component) socketCall(values map[uint]uint64, count uint64) {
	switch family := values[0]; family {
	case familyNetlink:
		if values[2] == 0 {
			c.call(`"@netlink-route"`, seenTimes(count)+", to ask for the network's interfaces")
			return
		}
		c.note("a netlink socket (protocol %d) is left out: no policy can allow it", values[2])
	case familyUnix:
		// Of its own, empty network: glibc asks nscd(8) by one whenever it
		// looks somebody up.
		c.call("{call: socket, argument: 0, equal: 1}", seenTimes(count)+": libc asks for a service of names, and finds none")
		c.call("connect", "for that")
	case familyIPv4, familyIPv6:
		if len(c.grants) > 0 {
			return
		}
		c.call(fmt.Sprintf("{call: socket, argument: 0, equal: %d}", family), seenTimes(count)+", of its own empty network")
	default:
		c.call(fmt.Sprintf("{call: socket, argument: 0, equal: %d}", family), seenTimes(count)+", of its own empty network")
	}
}

// terminalRequests are those that @terminal allows: asm-generic/ioctls.h.
var terminalRequests = map[uint64]bool{0x5402: true, 0x5403: true, 0x5404: true, 0x5409: true, 0x540a: true, 0x540b: true, 0x540e: true, 0x5410: true,
	0x5414: true, 0x5422: true, 0x5429: true, 0x80045430: true, 0x40045431: true, 0x5441: true, 0x402c542b: true, 0x402c542c: true, 0x402c542d: true}

func (c *component) call(text, comment string) {
	text = "- " + text
	for _, known := range c.calls {
		if known.text == text {
			return
		}
	}
	c.calls = append(c.calls, &line{text: text, comment: comment})
}

// wideGroups are named by single calls: each of those is a right of its own.
var wideGroups = map[string]bool{"default": true, "privileged": true, "debug": true, "absent": true, "netlink-route": true}

// named names calls: by a group where the program uses several of it, or where
// the group is small, so that the next run may use its neighbours.
func (c *component) named(missing map[string]uint64) {
	const few, small = 2, 6
	for _, g := range policy.CallGroups() {
		used, count := 0, uint64(0)
		for _, call := range g.Calls {
			if missing[call] > 0 {
				used++
				count += missing[call]
			}
		}
		if used == 0 || wideGroups[g.Name] || used < few && len(g.Calls) > small {
			continue
		}
		var which []string
		for _, call := range g.Calls {
			if missing[call] > 0 {
				which = append(which, call)
				delete(missing, call)
			}
		}
		c.call(`"@`+g.Name+`"`, strings.Join(which[:min(len(which), 4)], ", ")+", "+seenTimes(count))
	}
	for _, call := range sortedKeys(missing) {
		c.call(call, seenTimes(missing[call]))
	}
}
