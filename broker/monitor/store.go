package monitor

import (
	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// stored is a descriptor that a worker left for the next worker of its
// component, as with systemd's descriptor store (sd_pid_notify_with_fds(3)).
type stored struct {
	name string
	fd   int
}

// maximumStored bounds the descriptors that one component may leave.
const maximumStored = 128

func (m *Monitor) answerStore(w *work, h wire.Header, b *wire.Body, fds []int) answer {
	name := b.String()
	if b.End() != nil || len(fds) == 0 {
		closeAll(fds)
		return refused(errMalformed)
	}
	c := w.component
	if len(c.stored)+len(fds) > maximumStored {
		closeAll(fds)
		return refused(unix.ENOSPC)
	}
	for _, fd := range fds {
		if errno := m.passable(fd); errno != 0 {
			closeAll(fds)
			m.denyGrant(w, h.Op, errno, "store "+name)
			return refused(errno)
		}
	}
	for _, fd := range fds {
		c.stored = append(c.stored, stored{name, fd})
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
