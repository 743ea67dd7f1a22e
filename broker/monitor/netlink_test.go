package monitor

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A worker's netlink socket is bound by the monitor, which may more than the
// worker: the difference must not show.
func TestBindNetlink(t *testing.T) {
	for _, c := range []struct {
		name string
		a    address
		want syscall.Errno
	}{
		{"any port", address{family: unix.AF_NETLINK}, 0},
		{"the groups of dnsmasq", address{family: unix.AF_NETLINK, netlinkGroups: 0x550}, 0},
		{"a group for the administrator", address{family: unix.AF_NETLINK, netlinkGroups: 1 << 29}, unix.EPERM},
		{"and the one of IPv6", address{family: unix.AF_NETLINK, netlinkGroups: 0x550 | 1<<30}, unix.EPERM},
		{"an address of another family", address{family: unix.AF_INET, port: 80}, unix.EINVAL},
	} {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			t.Fatal(err)
		}
		if got := bindNetlink(fd, c.a); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		bound, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		if at, ok := bound.(*unix.SockaddrNetlink); !ok || at.Groups != c.a.netlinkGroups && c.want == 0 || at.Groups != 0 && c.want != 0 {
			t.Errorf("%s: it is bound to %+v", c.name, bound)
		}
		unix.Close(fd)
	}
}
