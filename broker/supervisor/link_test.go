package supervisor

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// A monitor that ends with requests unread is gone like any other: which error the
// kernel has for that is no reason for anything.
func TestMonitorThatIsGone(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	l, err := newLink(pair[1], 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for _, heard := range []bool{true, false} { // whether it is heard first, or found out by writing
		if err := l.write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[0])
		if !heard {
			l.request(wire.Announce, 1)
			if err := l.send(); err != nil {
				t.Errorf("one that writes: %v", err)
			}
		}
		if _, err := l.message(); err != io.EOF {
			t.Errorf("one that receives: %v", err)
		}
		if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		if l, err = newLink(pair[1], 1); err != nil {
			t.Fatal(err)
		}
		defer l.close()
	}
}

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
