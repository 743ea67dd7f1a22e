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
