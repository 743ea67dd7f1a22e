package monitor

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// beginner is a worker that waits for its orders, and its end of the socket
// where they come.
func (k *talker) beginner(address string) (*work, int) {
	k.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	k.m.plan.Grants = append(k.m.plan.Grants, plan.Grant{Name: "peer", Kind: plan.GrantConnect, Network: "unix", Address: address,
		Position: plan.Position{File: "policy.yaml", Line: 7, Column: 3}})
	c := k.m.components[1]
	c.Hosts.UID, c.Hosts.GID = itself().uid, itself().gid
	c.Grants = []plan.Binding{{Grant: len(k.m.plan.Grants) - 1, Number: 5}}
	w := &work{id: 2, component: c, state: preparing, socket: pair[0], init: -1, program: -1, listener: -1, broker: -1}
	k.m.workers[w.id] = w
	k.m.handover = &handover.Handover{Supervisor: -1}
	return w, pair[1]
}

// posted waits for what comes back to the loop and runs it.
func (k *talker) posted() {
	k.Helper()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(k.m.loop.wake), Events: unix.POLLIN}}, -1)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			k.Fatal(err)
		}
	}
	k.m.loop.runPosted(0)
}

// A server whose queue is full keeps the worker from its program that has a
// connection to it from the start, and nobody else from an answer.
func TestSlowPeerDelaysNobodyElse(t *testing.T) {
	k := newTalker(t)
	path := filepath.Join(t.TempDir(), "socket")
	address := &unix.SockaddrUnix{Name: path}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	listener := socket()
	if err := unix.Bind(listener, address); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 0); err != nil {
		t.Fatal(err)
	}
	for { // until its queue is full
		filler := socket()
		if err := unix.SetNonblock(filler, true); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(filler, address); err == unix.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	w, orders := k.beginner(path)
	before := k.descriptors()
	if err := k.m.launch(w, nil, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	errno, got := k.ask(wire.Open, open("store", "file"))
	if errno != 0 || len(got) != 1 {
		t.Errorf("another worker's request: %v", errno)
	}
	closeAll(got)
	b := make([]byte, wire.MaximumSize)
	if _, _, err := unix.Recvfrom(orders, b, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("the worker has orders without its connection: %v", err)
	}
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(accepted)
	k.posted()
	control := make([]byte, 1024)
	_, cn, _, _, err := unix.Recvmsg(orders, b, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatalf("the worker has no orders: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		t.Fatal(err)
	}
	passed, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(passed) != 4 {
		t.Fatalf("it is given %d descriptors, %v; 0, 1, 2 and the connection were expected", len(passed), err)
	}
	if peer, err := unix.Getpeername(passed[3]); err != nil || peer.(*unix.SockaddrUnix).Name != path {
		t.Errorf("its connection leads to %v, %v", peer, err)
	}
	closeAll(passed)
	if after := k.descriptors(); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// A server that is not there fails the start of the worker, with the grant's
// place in the policy, and leaves nothing.
func TestMissingPeerFailsTheStart(t *testing.T) {
	k := newTalker(t)
	w, _ := k.beginner(filepath.Join(t.TempDir(), "nobody"))
	before := k.descriptors()
	if err := k.m.launch(w, nil, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	k.posted()
	if !w.ended || w.state != ending || !strings.HasPrefix(w.why, "policy.yaml:7:3: open grant peer") {
		t.Errorf("it is at %d, because of %q", w.state, w.why)
	}
	if after := k.descriptors(); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}
