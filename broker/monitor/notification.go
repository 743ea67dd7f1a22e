package monitor

import (
	"cmp"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// ioctls of a seccomp listener (seccomp_unotify(2)).
const (
	ioctlReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	ioctlIDValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
	ioctlAddFD   = 0x40182103 // SECCOMP_IOCTL_NOTIF_ADDFD
	ioctlFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6
)

// struct seccomp_notif
type seccompNotification struct {
	id                 uint64
	pid, flags         uint32
	number             int32
	architecture       uint32
	instructionPointer uint64
	arguments          [6]uint64
}

// struct seccomp_notif_resp
type seccompResponse struct {
	id    uint64
	value int64
	error int32
	flags uint32
}

// struct seccomp_notif_addfd
type seccompAddFD struct {
	id                uint64
	flags             uint32
	source            uint32
	target            uint32
	targetDescription uint32
}

const (
	addFDSet  = 1 // SECCOMP_ADDFD_FLAG_SETFD
	addFDSend = 2 // SECCOMP_ADDFD_FLAG_SEND, Linux 5.14
)

// notification is a call that a worker's filter stopped. The worker's thread
// waits in it until respond or inject.
type notification struct {
	id        uint64
	pid       int // of the thread, in the monitor's pid namespace
	call      int32
	arguments [6]uint64
	lacking   syscall.Errno // why its path could not be read; see lacking
}

// performed are the calls that the monitor can perform for a worker.
var performed map[string]func(*Monitor, *work, *notification)

// Filled here because the functions lead back to the table.
func init() {
	performed = map[string]func(*Monitor, *work, *notification){
		"socket":  (*Monitor).brokeredSocket,
		"bind":    (*Monitor).brokeredBind,
		"connect": (*Monitor).brokeredConnect,
		"listen":  (*Monitor).brokeredListen,

		"fcntl":     (*Monitor).guardedFcntl,
		"ftruncate": (*Monitor).guardedTruncate,
		"fallocate": (*Monitor).guardedAllocate,

		"setsockopt": (*Monitor).guardedOption,
	}
	for name, f := range fileCalls() {
		performed[name] = f
	}
	for name, at := range socketCalls {
		f := performed[name]
		performed[name] = func(m *Monitor, w *work, n *notification) {
			switch {
			case m.namesSocket(w, n, at):
				m.respond(w, n, 0)
			case n.lacking != 0:
				m.own(w, n)
			default:
				f(m, w, n)
			}
		}
	}
}

// brokeredCalls are the numbers of the calls that the plan wants performed, each
// with what a call gets that no grant answers: an errno, or 0 where it is the
// compartment's own matter.
func brokeredCalls(c *plan.Component) map[int32]syscall.Errno {
	all := map[int32]syscall.Errno{}
	for _, r := range c.Syscalls.Rules {
		if r.Action != plan.Broker {
			continue
		}
		if n, ok := calls.Number(r.Call); ok {
			all[int32(n)] = syscall.Errno(r.Errno)
		}
	}
	return all
}

// wakeHere tells the scheduler that whoever is stopped waits for the monitor
// and the other way round, so that both may take turns on one core. Kernels
// that do not know it wake as ever (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP).
func wakeHere(listener int) {
	unix.Syscall(unix.SYS_IOCTL, uintptr(listener), ioctlFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

func (m *Monitor) notified(w *work, events uint32) {
	if events&unix.EPOLLIN == 0 {
		// EPOLLHUP: no process with this filter is left.
		m.loop.close(w.listener)
		w.listener = -1
		return
	}
	if m.spent(w, w.listener) {
		return
	}
	var raw seccompNotification
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), ioctlReceive, uintptr(unsafe.Pointer(&raw))); errno != 0 {
		return // ENOENT: the caller died meanwhile
	}
	n := &notification{id: raw.id, pid: int(raw.pid), call: raw.number, arguments: raw.arguments}
	if n.call == callSplit {
		m.splitAsked(w, n)
		return
	}
	if _, ok := w.component.brokered[n.call]; ok {
		if f := performed[calls.Name(int(n.call))]; f != nil {
			f(m, w, n)
			return
		}
	}
	errno := unix.EPERM
	if int(n.call) > calls.Last {
		// Newer than this program: libraries fall back on ENOSYS only.
		errno = unix.ENOSYS
	} else {
		m.deny(w, denial{call: n.call, arguments: n.arguments, errno: errno})
	}
	m.respond(w, n, errno)
}

// valid says whether the thread that made the call still waits in it. Until
// then its pid, and what was read through it, may be somebody else's.
func (m *Monitor) valid(w *work, n *notification) bool {
	if w.listener < 0 {
		return false
	}
	return ask(w.listener, ioctlIDValid, unsafe.Pointer(&n.id)) == 0
}

// ask makes an ioctl on a listener that may be made again: the kernel waits for
// its lock before all else, and what interrupts that changed nothing (kernel/seccomp.c,
// mutex_lock_interruptible). Without an answer the caller would wait for ever.
func ask(listener int, what uintptr, with unsafe.Pointer) syscall.Errno {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), what, uintptr(with))
		if errno != unix.EINTR {
			return errno
		}
	}
}

// respond ends a call with a result: 0, or an errno.
func (m *Monitor) respond(w *work, n *notification, errno syscall.Errno) {
	if w.listener < 0 {
		return
	}
	response := seccompResponse{id: n.id, error: -int32(errno)}
	ask(w.listener, ioctlSend, unsafe.Pointer(&response))
}

// inject ends a call with a new descriptor as its result, in one step: a
// worker that is killed in between gets neither.
func (m *Monitor) inject(w *work, n *notification, fd int, closeOnExec bool) {
	if errno := m.hand(w, n, fd, closeOnExec); errno != 0 {
		m.respond(w, n, errno)
	}
}

// hand is inject without an answer where it fails. No signal may interrupt it:
// see shield.
func (m *Monitor) hand(w *work, n *notification, fd int, closeOnExec bool) syscall.Errno {
	add := seccompAddFD{id: n.id, flags: addFDSend, source: uint32(fd)}
	if closeOnExec {
		add.targetDescription = unix.O_CLOEXEC
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), ioctlAddFD, uintptr(unsafe.Pointer(&add)))
	return errno
}

// replace puts a descriptor in the place of the worker's own.
func (m *Monitor) replace(w *work, n *notification, fd, number int, closeOnExec bool) syscall.Errno {
	add := seccompAddFD{id: n.id, flags: addFDSet, source: uint32(fd), target: uint32(number)}
	if closeOnExec {
		add.targetDescription = unix.O_CLOEXEC
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), ioctlAddFD, uintptr(unsafe.Pointer(&add)))
	return errno
}

// readAddress reads the address of bind and connect, arguments 1 and 2.
func (m *Monitor) readAddress(w *work, n *notification) (address, syscall.Errno) {
	length := n.arguments[2]
	if int32(length) < 0 || length > maximumAddress {
		return address{}, unix.EINVAL
	}
	w.component.bytes.take(int(length))
	var memory [maximumAddress]byte
	b := memory[:length]
	if len(b) == 0 {
		return address{}, unix.EINVAL
	}
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := []unix.RemoteIovec{{Base: uintptr(n.arguments[1]), Len: len(b)}}
	got, err := unix.ProcessVMReadv(n.pid, local, remote, 0)
	if err != nil || got != len(b) {
		return address{}, cmp.Or(lacking(err), unix.EFAULT)
	}
	// Only now is it sure that this was the caller's memory.
	if !m.valid(w, n) {
		return address{}, unix.EINTR
	}
	a, ok := parseAddress(b)
	if ok && a.family == unix.AF_UNIX && a.path[0] != '/' && a.path[0] != '@' {
		// From the caller's working directory, as the kernel would.
		from, errno := directoryName(n.pid, unix.AT_FDCWD)
		if errno != 0 {
			return a, errno
		}
		a.path = path.Join(from, a.path)
	}
	if !ok {
		if a.family == unix.AF_UNSPEC {
			return a, unix.EACCES // takes a connection apart: nobody needs it
		}
		return a, unix.EAFNOSUPPORT
	}
	return a, 0
}

// fetch gets the socket that argument 0 names. What the worker puts at that
// number afterwards does not matter: the monitor acts on what it holds.
func (m *Monitor) fetch(w *work, n *notification) (int, syscall.Errno) {
	fd, errno := m.fetchNumber(w, n, int(int32(n.arguments[0])))
	if errno != 0 {
		return -1, errno
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return -1, unix.ENOTSOCK
	}
	return fd, 0
}

// fetchNumber gets what the caller has open at a number.
func (m *Monitor) fetchNumber(w *work, n *notification, number int) (int, syscall.Errno) {
	// The notification names a thread; before Linux 6.9 a pidfd can only be
	// had of its process.
	pidfd, err := unix.PidfdOpen(n.pid, pidfdThread)
	if err != nil {
		pidfd, err = unix.PidfdOpen(threadGroup(n.pid), 0)
	}
	if err != nil {
		return -1, unix.EINTR
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	if !m.valid(w, n) {
		unix.Close(fd)
		return -1, unix.EINTR
	}
	return fd, 0
}

const pidfdThread = unix.O_EXCL // PIDFD_THREAD, pidfd_open(2), Linux 6.9

// threadGroup is the pid of a thread's process, from /proc (proc(5), Tgid).
func threadGroup(tid int) int {
	pid, err := strconv.Atoi(procField("/proc/"+itoa(tid)+"/status", "Tgid:"))
	if err != nil {
		return tid
	}
	return pid
}

// closesOnExec reads the close-on-exec flag of the descriptor that argument 0
// names, which belongs to the number and not to what is open there.
func closesOnExec(n *notification) bool {
	octal := procField("/proc/"+itoa(n.pid)+"/fdinfo/"+itoa(int(int32(n.arguments[0]))), "flags:")
	flags, err := strconv.ParseUint(octal, 8, 64)
	return err != nil || flags&unix.O_CLOEXEC != 0
}

// pidOf is the pid that a pidfd stands for, as the monitor sees it; 0 when it
// is gone.
func pidOf(pidfd int) int {
	// One call, since Linux 6.13, for what are three.
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err == nil {
		return int(info.Pid)
	} else if err == unix.ESRCH {
		return 0
	}
	pid, _ := strconv.Atoi(procField("/proc/self/fdinfo/"+itoa(pidfd), "Pid:"))
	return max(pid, 0)
}

// procField is the value behind a key at the start of a line of a file of
// /proc, "" where the file or the key is not there. It reads the first 512
// bytes, where all that is asked for stands, and without package os, whose
// files cost a registration with the runtime's poller.
func procField(path, key string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [512]byte
	n, _ := unix.Read(fd, b[:])
	for line := range strings.Lines(string(b[:max(n, 0)])) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
