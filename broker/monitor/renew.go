package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/policy/plan"
)

// The monitor's root has the directories that the plan names, as they were when
// the root was made. One that was removed and made again since, as a service
// manager does with the directory of a service that restarts, is not there: the
// builder makes the root anew then, and after a reload that takes a directory away.

// renewal is a root that is being made.
type renewal struct {
	possible bool // this process has a root of its own
	under    bool
	last     time.Time
	then     []func()
	// Mounts of roots before: what was opened for appending came through
	// them. One whose file is open keeps its number.
	mounts map[uint64]bool
}

// renewalPause is the time between two: what is missing may stay so.
const renewalPause = time.Second

// isLost says of a directory that was opened whether it is not what the host has
// there: it was removed, or was not there when the root was made.
func isLost(fd int, err error) bool {
	var st unix.Stat_t
	return err == unix.ENOENT || err == nil && unix.Fstat(fd, &st) == nil && st.Nlink == 0
}

func isLostAt(directory string) bool {
	fd, err := unix.Open(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	return isLost(fd, err)
}

// renew makes the root anew if a directory is lost, and says whether it is
// there afterwards. It waits, so it is no call for the loop.
func (m *Monitor) renew(directory string) bool {
	if !m.renewal.possible || !isLostAt(directory) {
		return false
	}
	done := make(chan struct{})
	m.loop.post(func() { m.renewRoot(func() { close(done) }) })
	<-done
	return !isLostAt(directory)
}

// renewRoot orders a root, one at a time.
func (m *Monitor) renewRoot(then func()) {
	r := &m.renewal
	if m.stopping || !r.under && time.Since(r.last) < renewalPause {
		then()
		return
	}
	r.then = append(r.then, then)
	if r.under {
		return
	}
	over := func(made *handover.Built, _ error) {
		if made != nil {
			made.Close()
		}
		r.under, r.last = false, time.Now()
		waiting := r.then
		r.then = nil
		for _, then := range waiting {
			then()
		}
	}
	r.under = true
	if err := m.build(handover.OrderBuild, nil, nil, over); err != nil {
		over(nil, err)
	}
}

// narrowRoot makes the root anew after a reload, for which it was made with what
// either plan names: what only the one names that is not in force goes.
func (m *Monitor) narrowRoot() {
	r := &m.renewal
	switch {
	case !r.possible || m.stopping:
	case r.under || m.reload != nil || time.Since(r.last) < renewalPause:
		m.loop.after(renewalPause, m.narrowRoot)
	default:
		m.renewRoot(func() {})
	}
}

// rememberMounts keeps the mounts through which files for appending were
// opened, before another root takes the place of this one.
func (m *Monitor) rememberMounts() {
	for i := range m.plan.Grants {
		g := &m.plan.Grants[i]
		if g.Kind != plan.GrantFile || g.Access&plan.Append == 0 {
			continue
		}
		root, _, errno := lookup{}.root(g, "")
		if errno != 0 {
			continue
		}
		if mount, ok := mountOf(root, g.Path); ok {
			if m.renewal.mounts == nil {
				m.renewal.mounts = map[uint64]bool{}
			}
			m.renewal.mounts[mount] = true
		}
		unix.Close(root)
	}
}
