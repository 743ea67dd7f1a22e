package monitor

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// A stop is the supervisor's to do, in order. That it comes to an end is the
// monitor's to see to: a supervisor that hangs or was taken over must not keep the
// application from ending.
const (
	// heedPatience is how long the supervisor may take to begin.
	heedPatience = 10 * time.Second
	// stopMargin is what a stop in order takes beside the components' own time:
	// the supervisor waits 10 s for a process that SIGKILL does not end, and 2 s
	// for output that nobody reads.
	stopMargin = 15 * time.Second
	// stopPatience is how long one may take that was asked once more.
	stopPatience = time.Second
)

// stopAsked asks the supervisor for a stop, who does it in order, and at once
// when it is asked again.
func (m *Monitor) stopAsked(s unix.Signal) {
	m.closeDoors()
	m.stops++
	if m.link < 0 && !m.parting && m.succession == noSuccession {
		m.finish(128 + int(s))
		return
	}
	switch m.stops {
	case 1:
		m.loop.after(heedPatience, func() {
			if !m.heeded {
				m.endStop(fmt.Sprintf("the supervisor was asked to stop the application and has not begun within %s", heedPatience), 125)
			}
		})
	case 3: // the second may be an echo of the first
		m.loop.after(stopPatience, func() {
			if m.succession != noSuccession {
				m.finish(128 + int(s))
				return
			}
			m.endStop("the supervisor does not stop the application, though asked again", 128+int(s))
		})
	}
	m.tellStop(s)
}

// tellStop tells the supervisor of a request to stop, 0 for none, and with what
// status it will have to say that the application has ended; finish makes sure of
// that.
func (m *Monitor) tellStop(s unix.Signal) {
	status := uint32(0)
	if m.keeper.lost {
		status = 125
	}
	m.tell(wire.StopAsked, func(b *wire.Message) { b.U32(uint32(s)).U32(status) })
	m.flushNews() // it does not wait for others
}

// stopBegun is called when the supervisor says that it stops the application,
// asked to or for a reason of its own.
func (m *Monitor) stopBegun() {
	if m.heeded {
		return
	}
	m.heeded = true
	limit := m.plan.StopTime() + stopMargin
	m.loop.after(limit, func() {
		m.endStop(fmt.Sprintf("the supervisor began to stop the application and has not done it within %s", limit), 125)
	})
}

// endStop ends the application, with a status, as if its supervisor had ended: a
// successor writes what its components had written last.
func (m *Monitor) endStop(why string, status int) {
	if m.succession == noSuccession { // else that has a bound of its own
		m.status = status
		m.dropSupervisor(why + "; the application ends now")
	}
}
