package handover

import (
	"errors"
	"io"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// A builder that is started before anything is known hears all of it with its
// order: what it executes afterwards inherits nothing of that.
func TestFirstOrder(t *testing.T) {
	near, far := pair(t)
	plan, sweeper := file(t, "plan"), file(t, "sweeper")
	sent := First{Supervisor: 3, Directory: "/run/sandbox/shop", Group: "/sandbox/shop", Plan: int(plan.Fd()), Sweeper: int(sweeper.Fd())}
	if err := (Order{First: &sent}).Send(near); err != nil {
		t.Fatal(err)
	}
	order, err := ReceiveOrder(far)
	if err != nil {
		t.Fatal(err)
	}
	got := order.First
	if got == nil || got.Supervisor != sent.Supervisor || got.Directory != sent.Directory || got.Group != sent.Group {
		t.Fatalf("it heard %+v, and was told %+v", got, sent)
	}
	for fd, want := range map[int]*os.File{got.Plan: plan, got.Sweeper: sweeper} {
		its := os.NewFile(uintptr(fd), want.Name())
		defer its.Close()
		a, err := its.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(a, b) {
			t.Errorf("descriptor %d is not %s", fd, want.Name())
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("what the builder executes inherits %s: flags %x, %v", want.Name(), flags, err)
		}
	}
}

func TestOrder(t *testing.T) {
	near, far := pair(t)
	sent := Order{Components: []int{4, 2}, Grants: []int{7}}
	if err := sent.Send(near); err != nil {
		t.Fatal(err)
	}
	if got, err := ReceiveOrder(far); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("it heard %+v, %v, and was told %+v", got, err, sent)
	}
	unix.Shutdown(near, unix.SHUT_RDWR)
	if _, err := ReceiveOrder(far); err != io.EOF {
		t.Errorf("without an order: %v, not io.EOF", err)
	}
}

// What is no order is none, whatever comes with it.
func TestMalformedOrders(t *testing.T) {
	at := int(file(t, "plan").Fd())
	for name, fds := range map[string][]int{"no descriptor": nil, "one descriptor": {at}, "three descriptors": {at, at, at}} {
		near, far := pair(t)
		var m wire.Message
		m.Begin(wire.Header{Kind: wire.Request, Op: wire.BuildAll, ID: 1, FDs: len(fds)}).U32(0).String("/run/sandbox/shop").String("/sandbox/shop")
		if err := sendBuilt(near, &m, fds...); err != nil {
			t.Fatal(err)
		}
		if _, err := ReceiveOrder(far); !errors.Is(err, wire.ErrHeader) {
			t.Errorf("the first order with %s: %v, not %v", name, err, wire.ErrHeader)
		}
	}
}

func pair(t *testing.T) (near, far int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		t.Cleanup(func() { unix.Close(fd) })
	}
	return fds[0], fds[1]
}

func file(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
