package monitor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// notifyPath is where a compartment sees the socket of sd_notify(3).
const notifyPath = "/run/notify"

// maximumNotify is the size of a notification, in bytes; more is cut off.
const maximumNotify = 4096

// makeNotify makes the socket for programs that speak systemd's protocol. It
// is a file of the compartment's own root: nothing else has to be let through
// a wall.
func (m *Monitor) makeNotify(c *component) error {
	if c.Life.Ready.Kind != plan.ReadyNotify && c.Life.Watchdog == 0 {
		return nil
	}
	path := m.notifyFile(c)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = os.Chmod(path, 0o666); err == nil {
			// Who sends is the kernel's word, not the sender's.
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		}
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("make its notify socket %s: %w", path, err)
	}
	if c.notifier >= 0 {
		// The old one went with the compartment's old root.
		m.loop.close(c.notifier)
	} else {
		c.environment = append(c.environment, "NOTIFY_SOCKET="+notifyPath)
		if c.Life.Watchdog > 0 {
			c.environment = append(c.environment,
				"WATCHDOG_PID=2", "WATCHDOG_USEC="+strconv.FormatInt(c.Life.Watchdog.Microseconds(), 10))
		}
	}
	c.notifier = fd
	return m.loop.add(fd, unix.EPOLLIN, func(uint32) { m.notify(c, fd) })
}

// notifyFile is where the host has the notify socket of a component.
func (m *Monitor) notifyFile(c *component) string {
	return filepath.Join(m.handover.Directory, "root", c.Compartment(), notifyPath)
}

// notify reads one notification. One that does not come from a worker of the
// component, who ever sent it, is dropped.
func (m *Monitor) notify(c *component, socket int) {
	var text [maximumNotify]byte
	var control [512]byte
	n, cn, _, _, err := unix.Recvmsg(socket, text[:], control[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil {
		return
	}
	var fds []int
	var sender *unix.Ucred
	for _, cm := range messages {
		if got, err := unix.ParseUnixRights(&cm); err == nil {
			fds = append(fds, got...)
		} else if credentials, err := unix.ParseUnixCredentials(&cm); err == nil {
			sender = credentials
		}
	}
	w := m.senderOf(c, sender)
	if w == nil {
		closeAll(fds)
		return
	}
	m.notifiedBy(w, text[:n], fds)
}

// senderOf finds the worker that a process is of. The pid is the kernel's, but
// may have ended since: the cgroup and the user must fit too.
func (m *Monitor) senderOf(c *component, sender *unix.Ucred) *work {
	if sender == nil || !c.Hosts.HasUser(sender.Uid) {
		return nil
	}
	b, err := os.ReadFile("/proc/" + itoa(int(sender.Pid)) + "/cgroup")
	if err != nil {
		return nil
	}
	prefix := m.handover.Group + "/" + c.Compartment() + "/w"
	for line := range strings.Lines(string(b)) {
		_, after, ok := strings.Cut(line, prefix)
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSpace(after), 10, 32)
		if w := m.workers[uint32(id)]; err == nil && w != nil && w.component == c {
			return w
		}
	}
	return nil
}

// notifiedBy acts on the assignments that we know; sd_notify(3) demands that
// unknown ones are ignored. MAINPID= is one of those: who the worker's process is
// the monitor knows, who made it. Of each kind the last counts: one datagram may have
// hundreds, and each would be a message to the supervisor.
func (m *Monitor) notifiedBy(w *work, text []byte, fds []int) {
	say := func(op wire.Op, text string) {
		m.tell(wire.WorkerSays, func(b *wire.Message) {
			b.U32(w.id).U32(uint32(w.component.index)).U32(uint32(op)).String(bounded(text))
		})
	}
	var ready, watchdog, status *string // nil: not said
	word := func(s string) *string { return &s }
	store, forget, name := false, false, "stored"
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		switch string(line) {
		case "READY=1":
			ready = word("")
		case "WATCHDOG=1":
			watchdog = word("")
		case "WATCHDOG=trigger":
			watchdog = word("trigger")
		case "RELOADING=1":
			status = word("reloading")
		case "STOPPING=1":
			status = word("stopping")
		case "FDSTORE=1":
			store = true
		case "FDSTOREREMOVE=1":
			forget = true
		}
		if text, ok := bytes.CutPrefix(line, []byte("STATUS=")); ok {
			status = word(string(text))
		} else if wish, ok := bytes.CutPrefix(line, []byte("FDNAME=")); ok {
			name = storeName(string(wish))
		}
	}
	for _, s := range []struct {
		op   wire.Op
		text *string
	}{{wire.Status, status}, {wire.Ready, ready}, {wire.Watchdog, watchdog}} {
		if s.text != nil {
			say(s.op, *s.text)
		}
	}
	c := w.component
	if forget {
		c.forget(name)
	}
	for _, fd := range fds {
		if !store || len(c.stored) >= maximumStored || m.passable(fd) != 0 || c.holds(fd) {
			unix.Close(fd)
			continue
		}
		c.stored = append(c.stored, stored{name, fd})
	}
}
