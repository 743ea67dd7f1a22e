package monitor

import (
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maximumHands bounds the threads that work for one component. A file system
// that hangs holds them, and then its own component waits, and nobody else.
const maximumHands = 8

// handwork is a call's work that a hand does.
type handwork struct {
	w  *work
	n  *notification
	fd int // -1, or a descriptor that do needs
	do func(lookup) outcome
}

// end closes what a work had, done or not.
func (h *handwork) end() {
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
}

// perform does a call's work and ends the call. What can be done from memory
// alone is done here, where soon says that it is worth trying. All else, what
// changes something or may wait for a disk or another machine, is done by a
// hand: a thread that has the component's ids as far as files are concerned,
// so that what it makes belongs to the component and what takes an owner's
// right takes the component's. do must not touch the monitor's state. Where the
// caller is gone already, nothing is done.
func (m *Monitor) perform(w *work, n *notification, soon bool, do func(lookup) outcome) {
	if soon {
		o := do(m.soon())
		if o.errno != unix.EAGAIN {
			m.finishCall(w, n, o)
			return
		}
	}
	m.entrust(w, n, -1, do)
}

// entrust is the part of perform that leaves the work to a hand, with a descriptor
// that is closed however that ends, or -1.
func (m *Monitor) entrust(w *work, n *notification, fd int, do func(lookup) outcome) {
	f := w.component.files
	h := &handwork{w, n, fd, do}
	// Only now is it sure that what was read was the caller's.
	if !m.waits(h) {
		h.end()
		return
	}
	f.queue(h, m.waits)
	m.handOut(f)
}

// waits says whether there is still somebody who waits for a work.
func (m *Monitor) waits(h *handwork) bool { return m.valid(h.w, h.n) }

// queue lets a work wait for a hand. While a file system hangs, a worker may have
// any number of processes killed in their calls: theirs are dropped whenever the
// queue has doubled. Those that live are bounded by limits.processes.
func (f *files) queue(h *handwork, waits func(*handwork) bool) {
	if len(f.waiting) >= max(2*f.lived, maximumHands) {
		f.waiting = slices.DeleteFunc(f.waiting, func(h *handwork) bool {
			if waits(h) {
				return false
			}
			h.end()
			return true
		})
		f.lived = len(f.waiting)
	}
	f.waiting = append(f.waiting, h)
}

// handOut gives work that waits to hands: to one that is free, or to a new one.
// Each hand has one work at most, so the channel always has room.
func (m *Monitor) handOut(f *files) {
	for len(f.waiting) > 0 && f.busy < maximumHands {
		next := f.waiting[0]
		f.waiting = f.waiting[1:]
		if !m.waits(next) {
			next.end()
			continue
		}
		f.busy++
		f.work <- next
		if f.busy > f.hands {
			f.hands++
			go m.fileHand(f)
		}
	}
}

// fileHand works until there is nothing to do for a while. Its thread ends with
// it: it is nobody else's any more.
func (m *Monitor) fileHand(f *files) {
	runtime.LockOSThread()
	errno := lend(f.as)
	for next := f.wait(); next != nil; next = f.wait() {
		o := failed(errno)
		if errno == 0 {
			o = next.do(m.atLeisure())
		}
		m.loop.post(func() {
			f.busy--
			m.finishCall(next.w, next.n, o)
			next.end()
			m.handOut(f)
		})
	}
	m.loop.post(func() {
		if f.hands--; len(f.work) > 0 { // given out in the last moment
			f.hands++
			go m.fileHand(f)
		}
	})
}

// lend makes this thread act on files as somebody, and keeps for it only the
// right to go and look everywhere: the grant says where. Raw calls, because
// Go's change every thread (setfsuid(2), capabilities(7)).
func lend(as identity) syscall.Errno {
	if unix.Geteuid() != 0 {
		return 0 // an ordinary user's broker can act as nobody else
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	unix.RawSyscall(unix.SYS_SETFSGID, uintptr(as.gid), 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(as.uid), 0, 0)
	// They say nothing of a failure but the id that it is now.
	if now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0); uint32(now) != as.uid {
		return unix.EPERM
	}
	if now, _, _ := unix.RawSyscall(unix.SYS_SETFSGID, ^uintptr(0), 0, 0); uint32(now) != as.gid {
		return unix.EPERM
	}
	const reach = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: reach, Permitted: reach}}
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	return errno
}

// patience is how long a hand without work waits for some.
const patience = 5 * time.Second

// wait is the next work, nil when there is none for a while.
func (f *files) wait() *handwork {
	after := time.NewTimer(patience)
	defer after.Stop()
	select {
	case next := <-f.work:
		return next
	case <-after.C:
		return nil
	}
}
