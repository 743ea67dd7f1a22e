package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/confine"
	"bulkhead/policy/plan"
)

// need is a capability without which an application cannot be started by root.
type need struct {
	number    int
	name, why string
	asker     *confine.Asker // nil: every component
}

// always is what each compartment takes, whatever the policy says. Each was
// found by a start without it (test/e2e, TestLimitedRoot).
var always = []need{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "makes namespaces and mounts", nil},
	{unix.CAP_SETUID, "CAP_SETUID", "maps the users of a compartment", nil},
	{unix.CAP_SETGID, "CAP_SETGID", "maps its groups", nil},
	{unix.CAP_CHOWN, "CAP_CHOWN", "gives its root to its users", nil},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "makes what is in that root", nil},
	{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT", "enters its mount namespace", nil},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "finds its mount namespace", nil},
	{unix.CAP_SETPCAP, "CAP_SETPCAP", "takes capabilities from the monitor for good", nil},
}

// capable is an error if this process is root by name and lacks a capability
// that the plan takes, as root in many containers does. It comes before anything
// is made: what fails later says only that an operation was not permitted. An
// ordinary user needs none, in a user namespace of his own.
func capable(p *plan.Plan, manager *Manager) error {
	if os.Geteuid() != 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	return lacking(needs(p, manager), uint64(data[0].Effective)|uint64(data[1].Effective)<<32)
}

// needs are those of a plan, each once.
func needs(p *plan.Plan, manager *Manager) []need {
	all := append([]need(nil), always...)
	for _, c := range confine.Capabilities(p) {
		all = append(all, need{c.Number, c.Name, "for the monitor, who " + c.Why, c.AskedBy(p)})
	}
	for i := range p.Grants {
		g := &p.Grants[i]
		_, others := manager.listeners[g.Name]
		if g.Kind == plan.GrantListen && !others && !strings.HasPrefix(g.Network, "unix") && g.Port < unprivilegedPort() {
			all = append(all, need{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "listens on port " + strconv.Itoa(int(g.Port)),
				&confine.Asker{What: "grant " + strconv.Quote(g.Name), Position: g.Position}})
		}
	}
	for i := range p.Components {
		if c := &p.Components[i]; c.Hosts.Init == 0 || c.Hosts.UID == 0 {
			all = append(all, need{unix.CAP_SETFCAP, "CAP_SETFCAP", "maps the host's root into a compartment (user_namespaces(7), Linux 5.12)",
				&confine.Asker{What: "component " + strconv.Quote(c.Name), Position: c.Position}})
		}
	}
	return all
}

// unprivilegedPort is the first port that anybody may listen on (ip(7)).
func unprivilegedPort() uint16 {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err == nil {
		var port uint64
		if port, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16); err == nil {
			return uint16(port)
		}
	}
	return 1024
}

// lacking says what of all is not in a set, what asks for it, and what to do.
func lacking(all []need, has uint64) error {
	var missing uint64
	var lines, names []string
	for _, n := range all {
		if (has|missing)>>n.number&1 != 0 {
			continue
		}
		missing |= 1 << n.number
		asker := "every component"
		if n.asker != nil {
			at := n.asker.Position
			asker = fmt.Sprintf("%s:%d:%d: %s", at.File, at.Line, at.Column, n.asker.What)
		}
		lines = append(lines, fmt.Sprintf("  %s: %s (%s)", n.name, n.why, asker))
		names = append(names, n.name)
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New("start the application as this root, which lacks capabilities that it takes:\n" + strings.Join(lines, "\n") +
		"\ngive them to it (docker run --cap-add, systemd's CapabilityBoundingSet=" + strings.Join(names, " ") + "), or start it as an ordinary user, who needs none but a delegated group of cgroup v2")
}
