package supervisor

import (
	"slices"
	"testing"
	"time"
)

// TestAnnounce: the service manager hears of the application as a whole, once.
func TestAnnounce(t *testing.T) {
	play(t, application(with("web", nil)), func(m *script) {
		m.crash("web")
		m.pass(time.Second)
		m.stop()
		m.pass(time.Second)
		if !slices.Equal(m.announced, []uint32{announceUp, announceStops}) {
			t.Errorf("announced %v", m.announced)
		}
	})
}

// TestManagersWatchdog: a service manager that wants to hear from the broker
// does, from when the application is up, also while a component hangs.
func TestManagersWatchdog(t *testing.T) {
	p := application(with("web", nil), with("deaf", nil))
	prepared(t, p, func(m *script) { m.watchdog = 500 }, func(m *script) {
		m.pass(3250 * time.Millisecond)
		if !slices.Equal(m.announced, []uint32{announceUp, announceLives, announceLives, announceLives, announceLives, announceLives, announceLives}) {
			t.Errorf("announced %v", m.announced)
		}
		m.stop()
		m.pass(time.Second)
	})
}
