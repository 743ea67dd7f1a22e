// Package listener makes listening sockets: those that a policy grants, and the
// application's own. The launcher makes them at the start, the builder when a
// policy is reloaded.
package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/policy/plan"
)

// GrantError is a grant that could not be opened; it names the policy line.
type GrantError struct {
	Grant *plan.Grant
	Doing string
	Err   error
}

func (e *GrantError) Error() string {
	p := e.Grant.Position
	return fmt.Sprintf("%s:%d:%d: grant %q: %s: %v%s", p.File, p.Line, p.Column, e.Grant.Name, e.Doing, e.Err, advice(e.Grant, e.Err))
}

func (e *GrantError) Unwrap() error { return e.Err }

func advice(g *plan.Grant, err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		show := "-ltnp"
		switch {
		case g.Network == "udp":
			show = "-lunp"
		case strings.HasPrefix(g.Network, "unix"):
			show = "-lxp"
			if st, err := os.Lstat(g.Address); err == nil && st.Mode().Type() != os.ModeSocket {
				return "; what stands there is no socket: move it away, or change the address"
			}
		}
		return "; another program listens there (ss " + show + " shows which): stop it, or change the address"
	case errors.Is(err, unix.EROFS):
		return "; put the socket where files can be made, as beneath /run"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "; this machine has no such address"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "; ports below 1024 and protected directories need root"
	}
	return ""
}

// Granted binds a granted socket. Plain TCP: Go's own listeners would be MPTCP,
// which programs and checkpoint tools do not expect.
func Granted(g *plan.Grant) (int, error) {
	failed := func(doing string, err error) (int, error) { return -1, &GrantError{g, doing, err} }
	switch g.Network {
	case "unix", "unix-datagram":
		return listenUnix(g)
	}
	ip, err := netip.ParseAddr(g.Address)
	if err != nil {
		return failed("read its address", err)
	}
	where := g.Network + ":" + netip.AddrPortFrom(ip, g.Port).String()
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(g.Port)}
	if ip.Is4() {
		address = &unix.SockaddrInet4{Port: int(g.Port), Addr: ip.As4()}
	} else {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(g.Port), Addr: ip.As16()}
	}
	if g.Network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return failed("make a socket", err)
	}
	if kind == unix.SOCK_STREAM {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil && family == unix.AF_INET6 {
		// Two families are two grants: what is granted is what is meant.
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog(g))
	}
	if err != nil {
		unix.Close(fd)
		return failed("listen on "+where, err)
	}
	return fd, nil
}

func backlog(g *plan.Grant) int {
	if g.Backlog > 0 {
		return g.Backlog
	}
	return unix.SOMAXCONN
}

func listenUnix(g *plan.Grant) (int, error) {
	kind := unix.SOCK_STREAM
	if g.Network == "unix-datagram" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, &GrantError{g, "make a socket", err}
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: g.Address})
	if err == unix.EADDRINUSE && strings.HasPrefix(g.Address, "/") && Deserted(g.Address) {
		// A socket file that nobody listens on is what a power cut left.
		if err = unix.Unlink(g.Address); err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: g.Address})
		}
	}
	if err == nil && g.Mode != 0 && strings.HasPrefix(g.Address, "/") {
		err = os.Chmod(g.Address, os.FileMode(g.Mode))
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, backlog(g))
	}
	if err != nil {
		unix.Close(fd)
		return -1, &GrantError{g, "listen on unix:" + g.Address, err}
	}
	return fd, nil
}

// Deserted says whether a path is a socket that no process has any more. The
// type has to be looked at: the kernel refuses a connection to a file that is
// no socket in the same words. A datagram socket asks: one of another kind
// answers EPROTOTYPE and notices nothing, also between its bind and its listen.
func Deserted(path string) bool {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) == unix.ECONNREFUSED
}

// Own makes one of the application's own sockets.
func Own(path string, kind int, mode os.FileMode, group int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
			// The directory is not writable for others, and nothing is
			// accepted before Listen: no moment with a wrong mode counts.
			err = os.Chmod(path, mode)
		}
		if err == nil && group >= 0 && os.Geteuid() == 0 {
			err = os.Chown(path, 0, group)
		}
		if err == nil {
			err = unix.Listen(fd, 64)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("make the socket %s: %w", path, err)
	}
	return fd, nil
}

// Enlist adds files of granted unix sockets to those that the sweeper
// removes when nobody has them any more. A line for each: one in a path would
// be another path, and removes what it names only if that is a deserted socket.
func Enlist(directory string, paths []string) error {
	file, err := os.OpenFile(filepath.Join(directory, handover.SocketsFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write the list of sockets for the sweeper: %w", err)
	}
	defer file.Close()
	for _, path := range paths {
		if _, err := file.WriteString(path + "\n"); err != nil {
			return fmt.Errorf("write the list of sockets for the sweeper: %w", err)
		}
	}
	return nil
}
