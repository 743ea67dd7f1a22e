package monitor

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/reach"
)

// Grants may name a host. What the name stands for is asked by the resolver, a
// component of Bulkhead's own without privileges, again and again; the monitor
// reads nothing that came from the network. It believes the resolver about
// names that the plan has, and about nothing else.

// name is a name of grants and what it stands for.
type name struct {
	now      []netip.Addr
	lately   map[netip.Addr]time.Time // when each was last one of them
	resolves bool
	said     string // what there is to say of it
	told     string // what was told last
	asked    bool   // the resolver has said something, be it that there is nothing
}

const (
	// lately is how long an address counts after a name has another one: who
	// has looked it up just before connects just after.
	lately = 5 * time.Minute
	// maximumAddresses bounds what one name may stand for.
	maximumAddresses = 16
	// firstAnswers is how long the start of everything else waits until each
	// name was asked for once.
	firstAnswers = 3 * time.Second
	// resolverDelay is before the resolver is started again.
	resolverDelay = time.Second
)

// startResolver starts the resolver, where there is one, and calls then when
// the names are known or have taken too long.
func (m *Monitor) startResolver(then func() error) error {
	if m.handover.Resolver < 0 {
		return then()
	}
	for i := range m.plan.Grants {
		if g := &m.plan.Grants[i]; g.Kind == plan.GrantConnect && g.Host != "" {
			m.names[g.Host] = &name{lately: map[netip.Addr]time.Time{}}
		}
	}
	m.named = func() {
		if err := then(); err != nil {
			lastWords(err.Error())
			m.finish(125)
		}
	}
	m.loop.after(firstAnswers, m.allNamed)
	m.runResolver()
	return nil
}

// allNamed lets the start go on, once.
func (m *Monitor) allNamed() {
	if m.named != nil {
		then := m.named
		m.named = nil
		then()
		for host, n := range m.names {
			m.tellName(host, n)
		}
	}
}

func (m *Monitor) runResolver() {
	again := func() { m.loop.after(resolverDelay, m.runResolver) }
	w, err := m.run(m.components[m.handover.Resolver], &request{})
	if err != nil {
		again()
		return
	}
	w.private = func(unix.WaitStatus, bool) { again() }
}

// answerResolved takes the addresses of a name. Only the resolver may tell.
func (m *Monitor) answerResolved(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	host, why := string(b.Bytes()), string(b.Bytes())
	var now []netip.Addr
	for range b.U16() {
		text := b.Bytes()
		if text == nil || len(now) == maximumAddresses {
			break // short, or too many: End says so
		}
		ip, err := netip.ParseAddr(string(text))
		if err != nil || ip.Zone() != "" {
			return refused(unix.EINVAL)
		}
		now = append(now, ip.Unmap())
	}
	if b.End() != nil {
		return refused(errMalformed)
	}
	n := m.names[host]
	if n == nil || w.component.index != m.handover.Resolver {
		m.deny(w, denial{request: h.Op, errno: unix.EPERM, object: "request " + opName(h.Op)})
		return refused(unix.EPERM)
	}
	m.resolved(host, n, now, why)
	return done()
}

// resolved gives a name its addresses. A name that does not resolve any more
// keeps those that it had: a name server that is down takes nothing away.
func (m *Monitor) resolved(host string, n *name, now []netip.Addr, why string) {
	moment := time.Now()
	n.resolves = len(now) > 0
	n.said = "does not resolve: " + bounded(why)
	if len(now) > 0 {
		slices.SortFunc(now, netip.Addr.Compare)
		now = slices.Compact(now)
		for _, ip := range now {
			if _, known := n.lately[ip]; !known {
				m.reachable(host, ip, true)
			}
			n.lately[ip] = moment
		}
		for ip, last := range n.lately {
			if moment.Sub(last) > lately {
				delete(n.lately, ip)
				m.reachable(host, ip, false)
			}
		}
		n.said = fmt.Sprint("is ", now)
		if !slices.Equal(n.now, now) {
			n.now = now
			m.writeHosts()
		}
	}
	m.tellName(host, n)
	n.asked = true
	for _, other := range m.names {
		if !other.asked {
			return
		}
	}
	m.allNamed()
}

// tellName tells what is new of a name, once there is somebody to tell.
func (m *Monitor) tellName(host string, n *name) {
	if n.said == n.told || m.link < 0 {
		return
	}
	n.told = n.said
	m.tellNamed(n.resolves, host+" "+n.said)
}

func (m *Monitor) tellNamed(resolves bool, text string) {
	flag := uint32(0)
	if resolves {
		flag = 1
	}
	m.tell(wire.Named, func(b *wire.Message) { b.U32(uint32(m.handover.Resolver)).U32(flag).String(bounded(text)) })
}

// reachable lets the programs in the kernel know of an address of a name.
func (m *Monitor) reachable(host string, ip netip.Addr, is bool) {
	if m.handover.Allowed < 0 {
		return
	}
	for _, c := range m.components {
		m.reachableBy(c, host, ip, is)
	}
}

func (m *Monitor) reachableBy(c *component, host string, ip netip.Addr, is bool) {
	for _, b := range c.Grants {
		g := &m.plan.Grants[b.Grant]
		key, ok := reach.KeyOf(g, c.Number, ip)
		switch {
		case g.Kind != plan.GrantConnect || g.Host != host || !ok:
		case is:
			reach.Allow(m.handover.Allowed, reach.Rule{Key: key, Value: 1}) // a full map refuses, which is safe
		default:
			reach.Forbid(m.handover.Allowed, key)
		}
	}
}

// nameFor lets a component that a reload has changed know the names.
func (m *Monitor) nameFor(c *component) {
	m.writeHostsOf(c)
	for host, n := range m.names {
		for ip := range n.lately {
			if m.handover.Allowed >= 0 {
				m.reachableBy(c, host, ip, true)
			}
		}
	}
}

// meansName says whether an address is or lately was one of a grant's name.
func (m *Monitor) meansName(g *plan.Grant, a address) bool {
	n := m.names[g.Host]
	if g.Host == "" || n == nil || a.port != g.Port || a.family != unix.AF_INET && a.family != unix.AF_INET6 {
		return false
	}
	last, ok := n.lately[a.ip.Unmap()]
	return ok && (slices.Contains(n.now, a.ip.Unmap()) || time.Since(last) <= lately)
}

// targets are the addresses of a grant, of a name all that it has now.
func (m *Monitor) targets(g *plan.Grant) []plan.Grant {
	if g.Host == "" {
		return []plan.Grant{*g}
	}
	var all []plan.Grant
	if n := m.names[g.Host]; n != nil {
		for _, ip := range n.now {
			one := *g
			one.Address = ip.String()
			all = append(all, one)
		}
	}
	return all
}

// connectAny connects to the first of some addresses that answers.
func (m *Monitor) connectAny(as identity, targets []plan.Grant) (fd int, errno syscall.Errno) {
	fd, errno = -1, unix.EHOSTUNREACH // a name without an address
	for k := range targets {
		if fd, errno = m.connect(as, &targets[k]); errno == 0 {
			break
		}
	}
	return fd, errno
}

// hostsBefore is what /etc/hosts of every compartment begins with.
const hostsBefore = "127.0.0.1 localhost\n::1 localhost\n"

// writeHosts gives every component with named grants its /etc/hosts: where
// programs that nobody changes look names up.
func (m *Monitor) writeHosts() {
	for _, c := range m.components {
		m.writeHostsOf(c)
	}
}

// writeHostsOf writes to the file in the skeleton that the compartment's root is
// made of. It stays the same file, because Landlock's rules are about files and
// not about names. It is a page at most and written at once: who reads it at
// that very moment may see a line of both, and the grant decides all the same.
func (m *Monitor) writeHostsOf(c *component) {
	text, names := hostsBefore, map[string]bool{}
	for _, b := range c.Grants {
		g := &m.plan.Grants[b.Grant]
		n := m.names[g.Host]
		if g.Kind != plan.GrantConnect || n == nil || names[g.Host] {
			continue
		}
		names[g.Host] = true
		for _, ip := range n.now {
			if line := ip.String() + " " + g.Host + "\n"; len(text)+len(line) <= maximumHosts {
				text += line
			}
		}
	}
	if len(names) == 0 || c.HostNetwork {
		return
	}
	if err := rewrite(filepath.Join(m.handover.Directory, "root", c.Compartment(), "etc", "hosts"), text); err != nil {
		m.tellNamed(false, "cannot write the names of "+c.Name+": "+err.Error())
	}
}

// maximumHosts is a page.
const maximumHosts = 4096

func rewrite(path, text string) error {
	// The launcher made it for reading only, and the monitor has no right but
	// the owner's.
	if err := unix.Fchmodat(unix.AT_FDCWD, path, 0o644, 0); err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte(text), 0); err != nil {
		return err
	}
	return unix.Ftruncate(fd, int64(len(text)))
}
