package monitor

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
)

// logMode is that of log files: what components write may be secret.
const logMode = 0o640

// commandOpenLog opens a log of the plan for the supervisor, who has no file
// system: a file, after making room for a new one where that is asked for, or a
// socket to journald. A disk may be slow, so it does not happen on the loop.
func (m *Monitor) commandOpenLog(h wire.Header, b *wire.Body) (uint32, error) {
	index, rotate := b.U32(), b.U32()
	if err := b.End(); err != nil {
		return 0, err
	}
	if uint64(index) >= uint64(len(m.logs)) || rotate > 1 {
		return 0, unix.EINVAL
	}
	l := &m.logs[index]
	go func() {
		fd, err := m.openLog(l, rotate == 1)
		m.loop.post(func() {
			if err == nil {
				m.tellLog(l.Name, fd)
				unix.Close(fd)
			}
			m.replySupervisor(h, 0, err)
		})
	}()
	return 0, errLater
}

// tellLog gives a log to the supervisor, if the plan has it still.
func (m *Monitor) tellLog(name string, fd int) {
	for i := range m.plan.Logs {
		if m.plan.Logs[i].Name == name {
			m.tell(wire.LogFile, func(b *wire.Message) { b.U32(uint32(i)) }, fd)
		}
	}
}

// openLog opens a log of the plan.
func (m *Monitor) openLog(l *plan.Log, rotate bool) (int, error) {
	if l.Kind == plan.LogJournald {
		m.renew(filepath.Dir(plan.JournaldSocket))
		return connectJournald(l)
	}
	m.renew(filepath.Dir(l.Name))
	return openLogFile(l, rotate)
}

// connectJournald makes a socket on which entries are sent. One for each
// component, so that each has a send buffer of its own to fill.
func connectJournald(l *plan.Log) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: plan.JournaldSocket}); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("%s:%d:%d: connect to journald at %s: %w (start systemd-journald, or write logs: {file: PATH})",
			l.Position.File, l.Position.Line, l.Position.Column, plan.JournaldSocket, err)
	}
	return fd, nil
}

// openLogFile opens a log file to append to. Its directory is resolved once, and
// no symbolic link in it is followed: a log in a directory that somebody else
// may write to leads nowhere else.
func openLogFile(l *plan.Log, rotate bool) (int, error) {
	failed := func(doing string, err error) (int, error) {
		return -1, fmt.Errorf("%s:%d:%d: %s the log %s: %w", l.Position.File, l.Position.Line, l.Position.Column, doing, l.Name, err)
	}
	directory, name := filepath.Split(l.Name)
	at, err := unix.Open(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open the directory of", err)
	}
	defer unix.Close(at)
	if rotate {
		if err := rotateLog(at, name, l.Keep); err != nil {
			return failed("rotate", err)
		}
	}
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, logMode)
	if err != nil {
		return failed("open", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return failed("open", unix.EINVAL)
	}
	return fd, nil
}

// rotateLog renames FILE to FILE.1, that to FILE.2 and so on, and removes
// what is beyond keep, also what an earlier policy kept.
func rotateLog(at int, name string, keep int) error {
	for n := keep; ; n++ {
		if err := unix.Unlinkat(at, numbered(name, n), 0); err != nil {
			if err == unix.ENOENT && n > keep {
				break
			}
			if err != unix.ENOENT {
				return err
			}
		}
	}
	for n := keep; n > 0; n-- {
		err := unix.Renameat(at, numbered(name, n-1), at, numbered(name, n))
		if err != nil && err != unix.ENOENT {
			return err
		}
	}
	return nil
}

// numbered is the name of the nth older file; the 0th is the present one.
func numbered(name string, n int) string {
	if n == 0 {
		return name
	}
	return name + "." + strconv.Itoa(n)
}
