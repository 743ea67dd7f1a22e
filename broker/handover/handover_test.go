package handover

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Whoever ordered something may give up with packets unread; a builder is not to say
// that the connection was reset when somebody else says why.
func TestNobodyWaitsForABuilder(t *testing.T) {
	for _, unread := range []int{0, 1} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		for range unread {
			if err := new(Built).Finish(pair[0]); err != nil {
				t.Fatal(err)
			}
		}
		unix.Close(pair[1])
		if err := new(Built).Finish(pair[0]); !errors.Is(err, unix.EPIPE) {
			t.Errorf("%d packets unread: %v", unread, err)
		}
	}
}

// FuzzDecode is what the launcher leaves for the monitor: as many descriptors'
// numbers, and nothing else, as stand in it.
func FuzzDecode(f *testing.F) {
	for _, h := range []*Handover{{}, {
		Directory: "/run/sandbox/x", Group: "/sandbox/x", Supervisor: 1, Resolver: -1,
		Builder: 5, BuilderPid: 100, Listeners: []Listener{{0, 7}}, Filter: []byte{1, 2, 3},
		Mounts: []Mount{{"", "/sys/fs/cgroup"}, {"memory", "/sys/fs/cgroup/memory"}}, Enclosed: true, Capabilities: 7,
	}} {
		b, err := plan.Encode(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := plan.Decode[Handover](b)
		if err != nil {
			return
		}
		h.Hierarchy()
		again, err := plan.Encode(h)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, again) {
			t.Fatal("two encodings of one handover")
		}
	})
}
