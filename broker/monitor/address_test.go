package monitor

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseAddress(t *testing.T) {
	four := []byte{2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	mapped := append([]byte{10, 0, 0x1f, 0x90, 0, 0, 0, 0}, append(append(make([]byte, 10), 0xff, 0xff, 127, 0, 0, 1), 0, 0, 0, 0)...)
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
		text string
	}{
		{"nothing", nil, false, ""},
		{"one byte", []byte{2}, false, ""},
		{"short IPv4", four[:15], false, ""},
		{"IPv4", four, true, "tcp:127.0.0.1:8080"},
		{"IPv6 with an IPv4 address", mapped, true, "tcp:[::ffff:127.0.0.1]:8080"},
		{"short IPv6", mapped[:23], false, ""},
		{"path", append([]byte{1, 0}, "/run/x\x00garbage"...), true, "unix:/run/x"},
		{"path without an end", append([]byte{1, 0}, "/run/x"...), true, "unix:/run/x"},
		{"abstract", append([]byte{1, 0}, "\x00a\x00b"...), true, "unix:@a\x00b"},
		{"no path", []byte{1, 0}, false, ""},
		{"unspecified family", make([]byte, 16), false, ""},
		{"netlink", append([]byte{16, 0}, make([]byte, 10)...), true, "netlink"},
		{"short netlink", append([]byte{16, 0}, make([]byte, 9)...), false, ""},
	} {
		a, ok := parseAddress(c.b)
		if ok != c.ok {
			t.Errorf("%s: ok is %v", c.name, ok)
		} else if ok && a.text(unix.SOCK_STREAM) != c.text {
			t.Errorf("%s: it reads %q, want %q", c.name, a.text(unix.SOCK_STREAM), c.text)
		}
	}
}

func TestAddressIs(t *testing.T) {
	at := func(ip string, port uint16) address {
		a := netip.MustParseAddr(ip)
		family := unix.AF_INET
		if a.Is6() {
			family = unix.AF_INET6
		}
		return address{family: family, ip: a, port: port}
	}
	for _, c := range []struct {
		a       address
		granted string
		want    bool
	}{
		{at("127.0.0.1", 80), "127.0.0.1", true},
		{at("::ffff:127.0.0.1", 80), "127.0.0.1", true},
		{at("127.0.0.1", 81), "127.0.0.1", false},
		{at("127.0.0.2", 80), "127.0.0.1", false},
		{at("0.0.0.0", 80), "127.0.0.1", false},
		{at("::1", 80), "127.0.0.1", false},
		{at("::1", 80), "::1", true},
		{at("127.0.0.1", 80), "nonsense", false},
		{address{family: unix.AF_UNIX, path: "127.0.0.1", port: 80}, "127.0.0.1", false},
	} {
		if got := c.a.is(c.granted, 80); got != c.want {
			t.Errorf("%v against %s: %v", c.a, c.granted, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add([]byte{2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{1, 0}, "/run/x"...))
	f.Add([]byte{16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parseAddress(b)
		if ok && a.family != unix.AF_INET && a.family != unix.AF_INET6 && a.family != unix.AF_UNIX && a.family != unix.AF_NETLINK {
			t.Fatalf("family %d", a.family)
		}
		a.text(unix.SOCK_STREAM)
		a.is("127.0.0.1", 80)
	})
}
