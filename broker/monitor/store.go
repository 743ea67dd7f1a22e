package monitor

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// stored is a descriptor that a worker left for the next worker of its
// component, as with systemd's descriptor store (sd_pid_notify_with_fds(3)).
type stored struct {
	name string
	fd   int
}

// maximumStored bounds the descriptors that one component may leave.
const maximumStored = 128

// kcmpFile is KCMP_FILE (kcmp(2)): are two descriptors one open file?
const kcmpFile = 0

// holds says whether a descriptor is stored already, under whatever name: many
// programs store all that they have each time they start, and systemd's store
// keeps one of each too. Where kcmp(2) does not know, it is another one.
func (c *component) holds(fd int) bool {
	own := uintptr(unix.Getpid())
	return slices.ContainsFunc(c.stored, func(s stored) bool {
		differs, _, errno := unix.Syscall6(unix.SYS_KCMP, own, own, kcmpFile, uintptr(s.fd), uintptr(fd), 0)
		return errno == 0 && differs == 0
	})
}

// forget closes what was stored under a name.
func (c *component) forget(name string) {
	c.stored = slices.DeleteFunc(c.stored, func(s stored) bool {
		if s.name == name {
			unix.Close(s.fd)
		}
		return s.name == name
	})
}

// inMemory is how much memory the stored files take that are nowhere but in
// memory, memfd_create(2)'s and a tmpfs's. It is charged to the component's group
// since the worker that made it is gone. The kernel tells of seals for such files
// only, and without waiting; fstat(2) of a file of another machine could.
func (c *component) inMemory() (total uint64) {
	type inode struct{ device, number uint64 }
	counted := map[inode]bool{}
	for _, s := range c.stored {
		if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_GET_SEALS, 0); err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(s.fd, &st) == nil && !counted[inode{st.Dev, st.Ino}] {
			counted[inode{st.Dev, st.Ino}] = true
			total += uint64(st.Blocks) * 512
		}
	}
	return total
}

// What of the store a worker inherits: all environment strings that are not
// the plan's have to fit into one packet. The rest is there for the asking.
const (
	maximumInherited      = 64
	maximumInheritedNames = 2048
)

// inherit is what a worker gets of the store when it starts, as
// sd_listen_fds_with_names(3) describes it: behind the component's sockets,
// without a gap. A number in between that the plan uses for something else
// counts among them under that one's name, as OpenFile= of systemd.exec(5) does.
func (c *component) inherit(p *plan.Plan) (passed []worker.Passed, environment []string) {
	if len(c.stored) == 0 || c.Start != plan.WithApplication && c.Start != plan.OnDemand {
		return nil, nil
	}
	taken := map[int]string{}
	for _, b := range c.Grants {
		taken[b.Number] = p.Grants[b.Grant].Name
	}
	if c.Life.Ready.Kind == plan.ReadyFD {
		taken[c.Life.Ready.Number] = "ready"
	}
	names, number := "", first
	add := func(name string) {
		names += ":" + name
		number++
	}
	for _, s := range c.stored[:min(len(c.stored), maximumInherited)] {
		for taken[number] != "" {
			add(taken[number])
		}
		if len(names)+len(s.name) > maximumInheritedNames {
			break
		}
		passed = append(passed, worker.Passed{FD: s.fd, Number: number})
		add(s.name)
	}
	for taken[number] != "" { // sockets behind them are still listening
		add(taken[number])
	}
	return passed, []string{"LISTEN_FDS=" + itoa(number-first), "LISTEN_FDNAMES=" + names[1:], "LISTEN_PID=2"}
}

// older leaves out the variables that others have a newer value of.
func older(environment, newer []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(old string) bool {
		key, _, _ := strings.Cut(old, "=")
		return slices.ContainsFunc(newer, func(s string) bool { return strings.HasPrefix(s, key+"=") })
	})
}

// storeName is the name under which a descriptor is stored: one that stands in
// LISTEN_FDNAMES, or "stored" (sd_pid_notify_with_fds(3) has the rule).
func storeName(wish string) string {
	unfit := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }
	if wish == "" || len(wish) > 255 || strings.ContainsFunc(wish, unfit) {
		return "stored"
	}
	return wish
}

func (m *Monitor) answerStore(w *work, h wire.Header, b *wire.Body, fds []int) answer {
	name := b.String()
	if b.End() != nil || len(fds) == 0 {
		closeAll(fds)
		return refused(errMalformed)
	}
	c := w.component
	for _, fd := range fds {
		if errno := m.passable(fd); errno != 0 {
			closeAll(fds)
			m.denyGrant(w, h.Op, errno, "store "+name)
			return refused(errno)
		}
	}
	before := len(c.stored)
	for i, fd := range fds {
		switch {
		case c.holds(fd):
			unix.Close(fd)
		case len(c.stored) >= maximumStored:
			closeAll(fds[i:])
			for _, s := range c.stored[before:] {
				unix.Close(s.fd)
			}
			c.stored = c.stored[:before]
			return refused(unix.ENOSPC)
		default:
			c.stored = append(c.stored, stored{name, fd})
		}
	}
	return done()
}

// answerFetch hands the stored descriptors of a name back; they stay stored.
func (m *Monitor) answerFetch(w *work, h wire.Header, b *wire.Body, _ []int) answer {
	name := b.String()
	if b.End() != nil {
		return refused(errMalformed)
	}
	var fds []int
	for _, s := range w.component.stored {
		if s.name == name && len(fds) < wire.MaximumFDs {
			fds = append(fds, s.fd)
		}
	}
	if len(fds) == 0 {
		return refused(unix.ENOENT)
	}
	m.reply(w, h.Op, h.ID, 0, nil, fds...)
	return later()
}
