package monitor

import (
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// files is what the monitor keeps for a component whose calls on files are
// answered out of its grants.
type files struct {
	territories []territory
	standIns    int                    // that were made
	lastUse     map[standInName]uint64 // when they were asked for, counted in uses
	uses        uint64
	fresh       bool // what the loop has open of them is to be closed soon
	as          identity
	hands       int            // threads that work for it
	busy        int            // works that they have
	waiting     []*handwork    // works for which there is no hand
	work        chan *handwork // to the hands
}

// atWorking is AT_FDCWD as a register holds it.
const atWorking = ^uint64(99) // -100

// fileCalls are the calls on files that the monitor can perform; see performed.
func fileCalls() map[string]func(*Monitor, *work, *notification) {
	type call = func(*Monitor, *work, *notification)
	return map[string]call{
		"open": func(m *Monitor, w *work, n *notification) {
			m.brokeredOpen(w, n, atWorking, 0, n.arguments[1], n.arguments[2])
		},
		"creat": func(m *Monitor, w *work, n *notification) {
			m.brokeredOpen(w, n, atWorking, 0, creating, n.arguments[1])
		},
		"openat": func(m *Monitor, w *work, n *notification) {
			m.brokeredOpen(w, n, n.arguments[0], 1, n.arguments[2], n.arguments[3])
		},
		"openat2": (*Monitor).brokeredOpenHow,

		"chdir":      (*Monitor).brokeredChange,
		"getdents64": (*Monitor).brokeredList,
		"fsync":      (*Monitor).brokeredSync,

		"stat": func(m *Monitor, w *work, n *notification) { m.brokeredStat(w, n, atWorking, 0, 1, 0) },
		"lstat": func(m *Monitor, w *work, n *notification) {
			m.brokeredStat(w, n, atWorking, 0, 1, unix.AT_SYMLINK_NOFOLLOW)
		},
		"newfstatat": func(m *Monitor, w *work, n *notification) { m.brokeredStat(w, n, n.arguments[0], 1, 2, n.arguments[3]) },
		"statx":      (*Monitor).brokeredStatx,
		"statfs":     (*Monitor).brokeredStatfs,
		"access":     func(m *Monitor, w *work, n *notification) { m.brokeredAccess(w, n, atWorking, 0, 0) },
		"faccessat":  func(m *Monitor, w *work, n *notification) { m.brokeredAccess(w, n, n.arguments[0], 1, 0) },
		"faccessat2": func(m *Monitor, w *work, n *notification) { m.brokeredAccess(w, n, n.arguments[0], 1, n.arguments[3]) },
		"readlink":   func(m *Monitor, w *work, n *notification) { m.brokeredReadlink(w, n, atWorking, 0) },
		"readlinkat": func(m *Monitor, w *work, n *notification) { m.brokeredReadlink(w, n, n.arguments[0], 1) },

		"getxattr": (*Monitor).brokeredAttribute, "lgetxattr": (*Monitor).brokeredAttribute,
		"listxattr": (*Monitor).brokeredAttribute, "llistxattr": (*Monitor).brokeredAttribute,
		"setxattr": (*Monitor).brokeredAttribute, "lsetxattr": (*Monitor).brokeredAttribute,
		"removexattr": (*Monitor).brokeredAttribute, "lremovexattr": (*Monitor).brokeredAttribute,

		"truncate":  (*Monitor).brokeredTruncate,
		"chmod":     func(m *Monitor, w *work, n *notification) { m.brokeredMode(w, n, atWorking, 0, 0) },
		"fchmodat":  func(m *Monitor, w *work, n *notification) { m.brokeredMode(w, n, n.arguments[0], 1, 0) },
		"fchmodat2": func(m *Monitor, w *work, n *notification) { m.brokeredMode(w, n, n.arguments[0], 1, n.arguments[3]) },
		"chown":     func(m *Monitor, w *work, n *notification) { m.brokeredOwner(w, n, atWorking, 0, 0) },
		"lchown": func(m *Monitor, w *work, n *notification) {
			m.brokeredOwner(w, n, atWorking, 0, unix.AT_SYMLINK_NOFOLLOW)
		},
		"fchownat": func(m *Monitor, w *work, n *notification) { m.brokeredOwner(w, n, n.arguments[0], 1, n.arguments[4]) },
		"utimensat": func(m *Monitor, w *work, n *notification) {
			m.brokeredTimes(w, n, n.arguments[0], 1, n.arguments[3], timespecs)
		},
		"futimesat": func(m *Monitor, w *work, n *notification) { m.brokeredTimes(w, n, n.arguments[0], 1, 0, timevals) },
		"utimes":    func(m *Monitor, w *work, n *notification) { m.brokeredTimes(w, n, atWorking, 0, 0, timevals) },
		"utime":     func(m *Monitor, w *work, n *notification) { m.brokeredTimes(w, n, atWorking, 0, 0, seconds) },

		"unlink":   func(m *Monitor, w *work, n *notification) { m.brokeredUnlink(w, n, atWorking, 0, 0) },
		"rmdir":    func(m *Monitor, w *work, n *notification) { m.brokeredUnlink(w, n, atWorking, 0, unix.AT_REMOVEDIR) },
		"unlinkat": func(m *Monitor, w *work, n *notification) { m.brokeredUnlink(w, n, n.arguments[0], 1, n.arguments[2]) },
		"mkdir":    func(m *Monitor, w *work, n *notification) { m.brokeredMake(w, n, atWorking, 0) },
		"mkdirat":  func(m *Monitor, w *work, n *notification) { m.brokeredMake(w, n, n.arguments[0], 1) },
		"rename":   func(m *Monitor, w *work, n *notification) { m.brokeredRename(w, n, atWorking, 0, atWorking, 1, 0) },
		"renameat": func(m *Monitor, w *work, n *notification) {
			m.brokeredRename(w, n, n.arguments[0], 1, n.arguments[2], 3, 0)
		},
		"renameat2": func(m *Monitor, w *work, n *notification) {
			m.brokeredRename(w, n, n.arguments[0], 1, n.arguments[2], 3, n.arguments[4])
		},
		"link": func(m *Monitor, w *work, n *notification) { m.brokeredLink(w, n, atWorking, 0, atWorking, 1, 0) },
		"linkat": func(m *Monitor, w *work, n *notification) {
			m.brokeredLink(w, n, n.arguments[0], 1, n.arguments[2], 3, n.arguments[4])
		},
		"symlink":   func(m *Monitor, w *work, n *notification) { m.brokeredSymlink(w, n, atWorking, 1) },
		"symlinkat": func(m *Monitor, w *work, n *notification) { m.brokeredSymlink(w, n, n.arguments[1], 2) },
	}
}

// brokerFiles prepares a component for it.
func (m *Monitor) brokerFiles(c *component) {
	if !c.TransparentFiles {
		return
	}
	c.files = &files{
		territories: m.territories(c),
		as:          identity{c.Hosts.UID, c.Hosts.GID},
		work:        make(chan *handwork, maximumHands),
	}
}

// outcome is how a call ends that the monitor has performed, or prepared.
type outcome struct {
	errno   syscall.Errno
	fd      int // to inject, -1
	onExec  bool
	value   int64  // what the call returns
	output  []byte // for the worker's memory …
	address uint64 // … at this address
	next    int64  // position behind a list

	at      *spot
	record  bool    // a descriptor of it was handed out
	stands  []stand // that the kernel needs, or whose numbers output shows
	patch   func(output []byte, standIn *unix.Stat_t)
	glance  bool   // it does without stands where there is no room for them
	proceed bool   // the kernel does the rest, with the stand-in
	denied  string // what of a policy refused it: "write"

	done    func() // on the loop, before a call that went well is answered
	release func() // on the loop, however it ends
}

func failed(errno syscall.Errno) outcome { return outcome{errno: errno, fd: -1} }

func refusedFor(access string) outcome {
	return outcome{errno: unix.EACCES, fd: -1, denied: access}
}

// own leaves a call to the kernel, with what the compartment has. Where the
// policy allows the call only so far as grants answer it, it is refused. See
// locate for why CONTINUE decides nothing here.
func (m *Monitor) own(w *work, n *notification) {
	if errno := w.component.brokered[n.call]; errno != 0 {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: errno})
		m.respond(w, n, errno)
		return
	}
	m.proceed(w, n)
}

func (m *Monitor) proceed(w *work, n *notification) {
	if w.listener < 0 {
		return
	}
	response := seccompResponse{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), ioctlSend, uintptr(unsafe.Pointer(&response)))
}

// maximumHands bounds the threads that work for one component. A file system
// that hangs holds them, and then its own component waits, and nobody else.
const maximumHands = 8

type handwork struct {
	do   func(lookup) outcome
	then func(outcome)
}

// perform does a call's work and ends the call. What can be done from memory
// alone is done here, where soon says that it is worth trying. All else, what
// changes something or may wait for a disk or another machine, is done by a
// hand: a thread that has the component's ids as far as files are concerned,
// so that what it makes belongs to the component and what takes an owner's
// right takes the component's. do must not touch the monitor's state. Where the
// caller is gone already, nothing is done.
func (m *Monitor) perform(w *work, n *notification, soon bool, do func(lookup) outcome) (begun bool) {
	f := w.component.files
	if soon {
		o := do(lookup{cached: true})
		if !f.fresh {
			f.fresh = true
			m.loop.after(rootAge, f.forget)
		}
		if o.errno != unix.EAGAIN {
			m.finishCall(w, n, o)
			return true
		}
	}
	// Only now is it sure that what was read was the caller's.
	if !m.valid(w, n) {
		return false
	}
	f.waiting = append(f.waiting, &handwork{do, func(o outcome) { m.finishCall(w, n, o) }})
	m.handOut(f)
	return true
}

// handOut gives work that waits to hands: to one that is free, or to a new one.
// Each hand has one work at most, so the channel always has room.
func (m *Monitor) handOut(f *files) {
	for len(f.waiting) > 0 && f.busy < maximumHands {
		f.busy++
		f.work <- f.waiting[0]
		f.waiting = f.waiting[1:]
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
			o = next.do(lookup{})
		}
		then := next.then
		m.loop.post(func() {
			f.busy--
			then(o)
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
	if uint32(unix.Geteuid()) == as.uid {
		return 0 // an ordinary user's broker
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

// finishCall ends a call as its outcome says, on the loop. The worker may be
// gone by now; then the descriptors are closed and that is all.
func (m *Monitor) finishCall(w *work, n *notification, o outcome) {
	if o.release != nil {
		defer o.release()
	}
	if o.fd >= 0 {
		defer unix.Close(o.fd)
	}
	if w.listener < 0 {
		return
	}
	if o.errno == 0 && len(o.stands) > 0 {
		st, errno := w.component.files.standIn(o.at.territory, o.stands)
		switch {
		case errno == 0 && o.patch != nil:
			o.patch(o.output, &st)
		case errno != 0 && !o.glance:
			o.errno = errno
		}
	}
	if o.errno == 0 && len(o.output) > 0 {
		o.errno = m.writeMemory(w, n, o.address, o.output)
	}
	switch {
	case o.errno != 0:
		if o.denied != "" && m.valid(w, n) {
			m.deny(w, denial{call: n.call, arguments: n.arguments, errno: o.errno, object: o.denied})
		}
		m.respond(w, n, o.errno)
		return
	case o.done != nil:
		o.done()
	}
	if o.record {
		m.record(w, o.at.index, o.at.path)
	}
	switch {
	case o.fd >= 0:
		m.inject(w, n, o.fd, o.onExec)
	case o.proceed:
		m.proceed(w, n)
	default:
		m.respondValue(w, n, o.value)
	}
}

func (m *Monitor) respondValue(w *work, n *notification, value int64) {
	response := seccompResponse{id: n.id, value: value}
	unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), ioctlSend, uintptr(unsafe.Pointer(&response)))
}

// writeMemory writes a call's result. Unlike a read it cannot be checked
// afterwards, when it may have hit another process: so the memory is held
// first, then it is made sure that it is the caller's.
func (m *Monitor) writeMemory(w *work, n *notification, address uint64, b []byte) syscall.Errno {
	if address > 1<<63-1 {
		return unix.EFAULT
	}
	memory, err := unix.Open("/proc/"+itoa(n.pid)+"/mem", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unix.EFAULT
	}
	defer unix.Close(memory)
	if !m.valid(w, n) {
		return unix.EINTR
	}
	if got, err := unix.Pwrite(memory, b, int64(address)); err != nil || got != len(b) {
		return unix.EFAULT
	}
	return 0
}

// writes says whether a grant lets names beneath it be changed.
func writes(g *plan.Grant) bool { return g.Access&plan.Write != 0 }

// umaskOf is a thread's file mode creation mask (proc_pid_status(5), Linux 4.7).
func umaskOf(tid int) uint32 {
	mask, err := strconv.ParseUint(procField("/proc/"+itoa(tid)+"/status", "Umask:"), 8, 32)
	if err != nil {
		return 0o077
	}
	return uint32(mask)
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
