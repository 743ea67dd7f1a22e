package supervisor

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// The supervisor begins when the monitor says so, and not with anything else; one
// whose monitor goes before that has nothing to say.
func TestBegin(t *testing.T) {
	for _, c := range []struct {
		name  string
		event wire.Op // 0: the monitor goes
		begun bool
	}{
		{"all compartments are there", wire.Begin, true},
		{"something else comes first", wire.StopAsked, false},
		{"the application does not start", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			l, err := newLink(pair[1], 1)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			m := playOn(t, application(with("a", nil)), pair[0])
			switch c.event {
			case 0:
			case wire.Begin:
				m.event(wire.Begin, nil)
			default:
				m.event(c.event, func(w *wire.Message) { w.U32(15) })
			}
			unix.Close(pair[0])
			if err := l.begin(); (err == nil) != c.begun || (err == io.EOF) != (c.event == 0) {
				t.Errorf("it is told: %v", err)
			}
		})
	}
}
