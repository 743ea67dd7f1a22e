package launch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/listener"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/address"
)

// Manager is what the service manager that started this process wants of it:
// systemd by its environment, s6 by a descriptor.
type Manager struct {
	notify    int            // connected to NOTIFY_SOCKET, or -1
	watchdog  time.Duration  // it wants to hear that often that the broker lives, or 0
	ready     int            // gets a newline when the application is up, or -1
	listeners map[string]int // sockets that it made, by grant
}

// NoManager is that of a process that nobody manages.
func NoManager() *Manager { return &Manager{notify: -1, ready: -1} }

// FindManager takes over what sd_notify(3) and sd_listen_fds(3) describe.
// ready is a descriptor as s6 calls it notification-fd, or -1.
func FindManager(ready int) (*Manager, error) {
	m := NoManager()
	if ready >= 0 {
		fd, err := away(ready)
		if err != nil {
			return nil, fmt.Errorf("use descriptor %d to say ready: %w", ready, err)
		}
		m.ready = fd
	}
	if os.Getenv("LISTEN_FDS") != "" && os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		if err := m.takeListeners(); err != nil {
			return nil, err
		}
	}
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return m, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the service manager's NOTIFY_SOCKET %s: %w", path, err)
	}
	m.notify = fd
	m.watchdog, err = watchdogTime()
	return m, err
}

// watchdogTime is sd_watchdog_enabled(3).
func watchdogTime() (time.Duration, error) {
	text := os.Getenv("WATCHDOG_USEC")
	if pid := os.Getenv("WATCHDOG_PID"); text == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < int64(time.Millisecond/time.Microsecond) || n > int64(24*time.Hour/time.Microsecond) {
		return 0, fmt.Errorf("take over the service manager's watchdog: WATCHDOG_USEC=%s is no time from a millisecond to a day", text)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// firstListener is SD_LISTEN_FDS_START.
const firstListener = 3

// takeListeners takes the sockets that the manager made, each under the name
// of the grant that it is for.
func (m *Manager) takeListeners() error {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if err != nil || count < 0 || count > 1024 || len(names) != count {
		return fmt.Errorf("take over the service manager's sockets: LISTEN_FDS=%s and LISTEN_FDNAMES=%s do not fit together; each socket needs the name of its grant",
			os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"))
	}
	m.listeners = map[string]int{}
	for i, name := range names {
		fd, err := away(firstListener + i)
		if err != nil {
			return fmt.Errorf("take over the service manager's socket %q: %w", name, err)
		}
		m.listeners[name] = fd
	}
	return nil
}

// away moves an inherited descriptor out of the way of those with fixed
// numbers, and out of the hands of what is started here. One that closes on exec
// was not inherited: it is this program's own.
func away(fd int) (int, error) {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return -1, unix.EBADF
	}
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 16)
	if err != nil {
		return -1, err
	}
	unix.Close(fd)
	return copied, nil
}

// listen returns the manager's socket for a grant, or makes one.
func (m *Manager) listen(g *plan.Grant) (int, error) {
	fd, ok := m.listeners[g.Name]
	if !ok {
		return listener.Granted(g)
	}
	family, kind := unix.AF_UNIX, unix.SOCK_STREAM
	if ip, err := netip.ParseAddr(g.Address); err == nil {
		if family = unix.AF_INET; ip.Is6() {
			family = unix.AF_INET6
		}
	}
	if g.Network == "udp" || g.Network == "unix-datagram" {
		kind = unix.SOCK_DGRAM
	}
	for _, option := range []struct{ name, want int }{{unix.SO_DOMAIN, family}, {unix.SO_TYPE, kind}} {
		if is, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option.name); err != nil || is != option.want {
			return -1, &listener.GrantError{Grant: g, Doing: "take over the service manager's socket of that name, which is of another kind", Err: unix.EPROTOTYPE}
		}
	}
	return fd, nil
}

// limited refuses a socket for datagrams that the manager made: the programs
// that limit where its answers go see only sockets of the application's own
// groups, and a socket stays with the group that it was made in.
func (m *Manager) limited(p *plan.Plan, grant int, wall *address.Wall) error {
	g := &p.Grants[grant]
	if _, ok := m.listeners[g.Name]; !ok || g.Network != "udp" || wall == nil {
		return nil
	}
	for i := range p.Components {
		c := &p.Components[i]
		if slices.Contains(c.Optional, "addresses") || c.HostNetwork {
			continue
		}
		if slices.ContainsFunc(c.Grants, func(b plan.Binding) bool { return b.Grant == grant }) {
			return &listener.GrantError{Grant: g, Doing: "limit where datagrams of component " + c.Name + " go, from the service manager's socket of that name",
				Err: errors.New("it was made outside of the application; let Bulkhead make it, or write optional: [addresses] for the component")}
		}
	}
	return nil
}
