package monitor

import (
	"cmp"
	"strconv"
	"syscall"
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
	as          identity
	hands       int            // threads that work for it
	busy        int            // works that they have
	waiting     []*handwork    // works for which there is no hand
	lived       int            // how many of them somebody waited for when that was last asked
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
		"fchmod":    (*Monitor).brokeredDescriptorMode,
		"fchown":    (*Monitor).brokeredDescriptorOwner,
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

	done func() // on the loop, before a call that went well is answered
}

func failed(errno syscall.Errno) outcome { return outcome{errno: errno, fd: -1} }

func refusedFor(access string) outcome {
	return outcome{errno: unix.EACCES, fd: -1, denied: access}
}

// own leaves a call to the kernel, with what the compartment has. Where the
// policy allows the call only so far as grants answer it, it is refused. See
// locate for why CONTINUE decides nothing here.
func (m *Monitor) own(w *work, n *notification) {
	if n.lacking != 0 {
		m.respond(w, n, n.lacking) // whose matter it is could not be found out
		return
	}
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
	ask(w.listener, ioctlSend, unsafe.Pointer(&response))
}

// finishCall ends a call as its outcome says, on the loop. The worker may be
// gone by now; then the descriptors are closed and that is all.
func (m *Monitor) finishCall(w *work, n *notification, o outcome) {
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
		w.component.bytes.take(len(o.output))
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
		m.record(w, o.at.grant, o.at.path)
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
	ask(w.listener, ioctlSend, unsafe.Pointer(&response))
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
		return cmp.Or(lacking(err), unix.EFAULT)
	}
	defer unix.Close(memory)
	if !m.valid(w, n) {
		return unix.EINTR
	}
	if got, err := unix.Pwrite(memory, b, int64(address)); err != nil || got != len(b) {
		return cmp.Or(lacking(err), unix.EFAULT)
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
