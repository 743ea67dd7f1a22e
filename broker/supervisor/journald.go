package supervisor

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How long journald may take before it is said that a component waits for it.
const journaldSlow = time.Second

// levelInfo is the priority of lines that name none (syslog(3)).
const levelInfo = '6'

// journaldFields are what all entries of a component have. journald itself
// adds what it knows of their sender, the supervisor: its unit, cgroup and user.
func journaldFields(application, component string) []byte {
	return []byte("SYSLOG_IDENTIFIER=" + application + "/" + component + "\n" +
		"BULKHEAD_APPLICATION=" + application + "\nBULKHEAD_COMPONENT=" + component + "\n")
}

// entry appends a line as journald's native protocol has it
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): FIELD=value, each ended by a newline,
// which a line has none of.
func (l *log) entry(b []byte, s *stream, text []byte, broken bool) []byte {
	if !s.cut { // else it is the rest of a line
		s.level, text = priority(text)
	}
	s.cut = broken
	b = append(b, l.fields...)
	b = append(b, "PRIORITY="...)
	b = append(b, s.level, '\n')
	b = append(b, "BULKHEAD_STREAM="...)
	if s.number == 2 {
		b = append(b, "stderr\n"...)
	} else {
		b = append(b, "stdout\n"...)
	}
	if broken {
		b = append(b, "BULKHEAD_CUT=1\n"...)
	}
	b = append(b, "MESSAGE="...)
	return append(append(b, text...), '\n')
}

// priority takes the prefix <N> off a line (sd-daemon(3)).
func priority(text []byte) (byte, []byte) {
	if len(text) >= 3 && text[0] == '<' && '0' <= text[1] && text[1] <= '7' && text[2] == '>' {
		return text[1], text[3:]
	}
	return levelInfo, text
}

// send sends one entry. While journald takes none the component waits, like
// one whose disk is full; when it was started anew, its socket is another one.
func (l *log) send(entry []byte) (int, error) {
	for wait := fullFirst; ; wait = min(2*wait, fullLast) {
		err := l.deliver(entry)
		if err == nil {
			l.unblocked()
			return len(entry), nil
		}
		l.blocked(err, "its component waits")
		if !os.IsTimeout(err) {
			select {
			case <-time.After(wait):
			case <-l.over:
				return 0, err
			}
			l.reconnect()
		}
		select {
		case <-l.over:
			return 0, err
		default:
		}
	}
}

// deliver sends an entry and waits a moment for room in journald's queue.
func (l *log) deliver(entry []byte) error {
	if l.socket == nil {
		return unix.ENOTCONN
	}
	raw, err := l.socket.SyscallConn()
	if err != nil {
		return err
	}
	l.socket.SetWriteDeadline(time.Now().Add(journaldSlow))
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		for {
			switch sent = sendEntry(int(fd), entry); sent {
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				return true
			}
		}
	})
	if err != nil {
		return err
	}
	return sent
}

// reconnect asks for a new socket. Where there is none the old one stays, and
// the reason is said already.
func (l *log) reconnect() {
	l.ask()
	select {
	case o := <-l.opened:
		if o.err == nil {
			l.socket.Close()
			l.socket = os.NewFile(uintptr(o.fd), l.name)
		}
	case <-l.over:
	}
}

// sendEntry sends an entry as a packet, or, if it is too large for one, in a
// sealed file.
func sendEntry(fd int, entry []byte) error {
	_, err := unix.SendmsgN(fd, entry, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != unix.EMSGSIZE && err != unix.ENOBUFS {
		return err
	}
	large, err := unix.MemfdCreate("entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(large)
	for done := 0; done < len(entry); {
		n, err := unix.Write(large, entry[done:])
		if err != nil {
			return err
		}
		done += n
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(large), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	_, err = unix.SendmsgN(fd, nil, unix.UnixRights(large), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return err
}
