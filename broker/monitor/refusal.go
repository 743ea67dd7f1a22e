package monitor

import (
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/sandbox/reach"
)

// refusalsAtOnce bounds a turn: a worker that sends to a thousand addresses
// does not keep the monitor from the others.
const refusalsAtOnce = 16

// watchRefusals tells of addresses that the programs in the kernel refused,
// where there are such programs.
func (m *Monitor) watchRefusals() error {
	if m.handover.Refusals < 0 {
		return nil
	}
	refusals, err := reach.MapRefusals(m.handover.Refusals)
	if err != nil {
		return err
	}
	return m.loop.add(refusals.FD, unix.EPOLLIN, func(uint32) {
		for range refusalsAtOnce {
			r, ok := refusals.Next()
			if !ok {
				return
			}
			m.refusedAddress(r)
		}
	})
}

// refusedAddress reports an address as a denial of the worker that used it. The
// programs know the process; where it is not the worker's first and the
// component has several workers, one of them has to stand for it.
func (m *Monitor) refusedAddress(r reach.Refusal) {
	at := slices.IndexFunc(m.components, func(c *component) bool { return c.Number == int(r.Component) })
	if at < 0 {
		return
	}
	var who *work
	for _, w := range m.workersOf(m.components[at]) {
		if w.state == preparing || w.program < 0 {
			continue
		}
		if who == nil || pidOf(w.program) == r.Pid {
			who = w
		}
	}
	if who == nil {
		return
	}
	name, word, kind := "connect", "connect ", unix.SOCK_STREAM
	switch {
	case r.Use == reach.Bind:
		name, word = "bind", "listen "
	case r.Protocol == reach.UDP:
		name = "sendto"
	}
	if r.Protocol == reach.UDP {
		kind = unix.SOCK_DGRAM
	}
	number, _ := calls.Number(name)
	where := address{family: unix.AF_INET, ip: r.IP, port: r.Port}
	m.deny(who, denial{call: int32(number), errno: unix.EPERM, object: word + where.text(kind)})
}
