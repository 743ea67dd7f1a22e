package monitor

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What a program set on its socket before bind is so on the granted one.
func TestKeepOptions(t *testing.T) {
	type setting struct{ level, name, value, reads int }
	for _, c := range []struct {
		what         string
		family, kind int
		settings     []setting
	}{
		{"TCP", unix.AF_INET, unix.SOCK_STREAM, []setting{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
			{unix.SOL_SOCKET, unix.SO_RCVBUF, 60_000, 120_000},
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 17, 17},
		}},
		{"UDP", unix.AF_INET, unix.SOCK_DGRAM, []setting{{unix.IPPROTO_IP, unix.IP_PKTINFO, 1, 1}}},
		{"UDP of IPv6", unix.AF_INET6, unix.SOCK_DGRAM, []setting{{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, 1}}},
		{"unix", unix.AF_UNIX, unix.SOCK_DGRAM, []setting{{unix.SOL_SOCKET, unix.SO_PASSCRED, 1, 1}}},
	} {
		open := func() int {
			fd, err := unix.Socket(c.family, c.kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			return fd
		}
		program, granted := open(), open()
		for _, s := range c.settings {
			if err := unix.SetsockoptInt(program, s.level, s.name, s.value); err != nil {
				t.Fatal(err)
			}
		}
		keepOptions(program, granted)
		for _, s := range c.settings {
			if got, err := unix.GetsockoptInt(granted, s.level, s.name); err != nil || got != s.reads {
				t.Errorf("%s: option %d of level %d is %d, %v, not %d", c.what, s.name, s.level, got, err, s.reads)
			}
		}
	}
}

// And what it did not set stays as the kernel tunes it.
func TestKeepOptionsLeavesTheRest(t *testing.T) {
	program, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(program)
	granted, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(granted)
	if err := unix.SetsockoptInt(program, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	before, err := unix.GetsockoptInt(granted, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		t.Fatal(err)
	}
	keepOptions(program, granted)
	if after, err := unix.GetsockoptInt(granted, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || after != before {
		t.Errorf("the buffer is %d, %v, not %d", after, err, before)
	}
}
