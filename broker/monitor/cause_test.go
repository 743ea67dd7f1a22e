package monitor

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// gone is the monitor's end of a socket whose other end closed with a packet unread:
// the next one fails with ECONNRESET, which tells of no cause. last is what was said
// there before.
func (k *talker) gone(last []byte) int {
	k.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { unix.Close(pair[0]) })
	if err := unix.Send(pair[0], []byte("unread"), 0); err != nil {
		k.Fatal(err)
	}
	if last != nil {
		if err := unix.Send(pair[1], last, 0); err != nil {
			k.Fatal(err)
		}
	}
	unix.Close(pair[1])
	return pair[0]
}

// A worker whose init failed before it heard what to run tells why, and nobody hears
// instead that it could not be told.
func TestFailureBeforeTheOrders(t *testing.T) {
	k := newTalker(t)
	w, _ := k.beginner("")
	w.component.Grants = nil
	failed := binary.LittleEndian.AppendUint32(nil, 8) // MSG_FAILED of init.h
	failed = binary.LittleEndian.AppendUint32(failed, uint32(unix.EINTR))
	w.socket = k.gone(append(failed, "enter the cgroup"...))
	supervisor, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(supervisor[0])
	defer unix.Close(supervisor[1])
	k.m.link = supervisor[0]
	w.component.ready = []*work{w}
	if got, err := k.m.run(w.component, &request{}); err != nil || got != w {
		t.Fatalf("it is refused: %v", err)
	}
	k.m.workerSays(w)
	k.m.flushNews()
	b := make([]byte, 512)
	n, _, err := unix.Recvfrom(supervisor[1], b, unix.MSG_DONTWAIT)
	if err != nil || !strings.Contains(string(b[:n]), "enter the cgroup") || w.why != "" {
		t.Errorf("the supervisor hears %q, %v, and why it was killed is %q", b[:n], err, w.why)
	}
}

// A compartment whose init has ended is lost for whoever wants a worker of it, also
// before the monitor has heard of the end.
func TestWorkerOfAnInitThatHasEnded(t *testing.T) {
	k := newTalker(t)
	c := k.m.components[1]
	c.control, c.group, c.Workers.Maximum = k.gone(nil), new(cgroup.Group), 1
	if errno, _ := k.ask(wire.Start, start(c.Name)); errno != unix.EIO {
		t.Errorf("it is refused with %v", errno)
	}
}

// A supervisor that ended is not said to be one that the monitor could not tell
// something: how it ended is the cause, and its process tells it.
func TestSupervisorThatEnded(t *testing.T) {
	k := newTalker(t)
	k.m.link = k.gone(nil)
	k.m.supervisor = &work{component: &component{Component: &plan.Component{}}, init: -1}
	k.m.deliver([]byte("news"), nil)
	if why := k.m.supervisor.why; why != "" {
		t.Errorf("it is killed: %s", why)
	}
}
