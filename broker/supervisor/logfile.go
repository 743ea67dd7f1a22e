package supervisor

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"
)

// rotateAgain is how long a log file that cannot be rotated is left alone.
const rotateAgain = time.Minute

// writeFile writes whole lines: all of them or, where the policy drops them, as
// many as there is room for.
func (l *log) writeFile(b []byte) (int, error) {
	if l.due(len(b)) {
		l.ask()
		l.take()
	}
	wait, given := fullFirst, len(b)
	if l.torn {
		b = append([]byte{'\n'}, b...)
	}
	for written := 0; written < len(b); {
		n, err := unix.Write(int(l.file), b[written:])
		switch {
		case err == nil:
			written += n
			l.size += int64(n)
			l.torn = false
		case err == unix.EINTR:
		case l.plan.Load().Drop:
			l.blocked(err, "its lines are dropped")
			// What follows must not begin in the middle of a line; but nothing
			// that is in a log is taken out of it, so no right to do so is here.
			l.torn = l.torn || written > 0
			l.dropped.Add(uint64(bytes.Count(b[max(written, len(b)-given):], []byte{'\n'})))
			return 0, err
		default:
			l.blocked(err, "its components wait")
			select {
			case <-time.After(wait):
			case <-l.over:
				return written, err
			}
			wait = min(2*wait, fullLast)
		}
	}
	l.unblocked()
	return given, nil
}

// due says whether the next lines belong into a new file.
func (l *log) due(next int) bool {
	if l.size == 0 || time.Since(l.failing) < rotateAgain {
		return false
	}
	p := l.plan.Load()
	return l.size+int64(next) > int64(p.Rotate) || p.Age > 0 && time.Since(l.since) >= p.Age
}

// measure finds out how large and how old a file is.
func (l *log) measure() {
	l.torn = false
	var st unix.Stat_t
	if unix.Fstat(int(l.file), &st) == nil {
		l.size = st.Size
	}
	// Where the file system knows when a file was made (statx(2)), its age
	// counts on over the ends of brokers.
	var born unix.Statx_t
	if l.size > 0 && unix.Statx(int(l.file), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &born) == nil && born.Mask&unix.STATX_BTIME != 0 {
		// From here on time passes as the monotonic clock says: whoever sets
		// the other one rotates no log.
		age := time.Since(time.Unix(born.Btime.Sec, int64(born.Btime.Nsec)))
		l.since = time.Now().Add(-max(0, age))
	}
}
