package monitor

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// Of what one datagram says again and again the supervisor hears the last.
func TestNotifiedOfMuch(t *testing.T) {
	k := newTalker(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(pair[:])
	k.m.link = pair[0]
	text := strings.Repeat("READY=1\nWATCHDOG=1\nSTATUS=one\nSTOPPING=1\n", 80) + "STATUS=two\nWATCHDOG=trigger"
	k.m.notifiedBy(k.w, []byte(text), nil)
	k.m.flushNews()
	var heard []string
	for {
		var b [512]byte
		n, _, err := unix.Recvfrom(pair[1], b[:], unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := wire.Parse(b[:n], 0)
		if err != nil {
			t.Fatal(err)
		}
		body.U32() // worker
		body.U32() // component
		op := map[uint32]string{uint32(wire.Status): "status", uint32(wire.Ready): "ready", uint32(wire.Watchdog): "watchdog"}[body.U32()]
		heard = append(heard, op+" "+body.String())
	}
	if want := []string{"status two", "ready ", "watchdog trigger"}; !slices.Equal(heard, want) {
		t.Errorf("the supervisor hears %d messages, the first of them %q; want %q", len(heard), heard[:min(len(heard), 4)], want)
	}
}
