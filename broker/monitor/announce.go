package monitor

import (
	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// What an Announce says.
const (
	announceUp    = 1
	announceStops = 2
	announceLives = 3
)

// commandAnnounce tells the service manager that started the broker how the
// application is. The monitor does it, because managers listen to a service's
// main process only. It answers how soon the supervisor is to say that it lives,
// in milliseconds, 0 for never: what a watchdog hears has come through the
// loops of both.
func (m *Monitor) commandAnnounce(h wire.Header, b *wire.Body) (uint32, error) {
	what := b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	text := ""
	switch what {
	case announceUp:
		text = "READY=1\nSTATUS=application " + m.plan.Application + " is up"
		if m.handover.Ready >= 0 {
			unix.Write(m.handover.Ready, []byte{'\n'})
			unix.Close(m.handover.Ready)
			m.handover.Ready = -1
		}
	case announceStops:
		m.stopBegun()
		text = "STOPPING=1\nSTATUS=application " + m.plan.Application + " stops"
	case announceLives:
		text = "WATCHDOG=1"
	default:
		return 0, unix.EINVAL
	}
	if m.handover.Notify < 0 {
		return 0, nil
	}
	// Half of the time, as sd_watchdog_enabled(3) wants it.
	soon := uint32(m.handover.Watchdog.Milliseconds() / 2)
	// A manager that does not read must not hold the application up.
	return soon, unix.Send(m.handover.Notify, []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}
