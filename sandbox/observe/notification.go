package observe

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/learn"
)

// struct seccomp_notif, seccomp_unotify(2).
type notification struct {
	id                 uint64
	pid, flags         uint32
	number             int32
	architecture       uint32
	instructionPointer uint64
	arguments          [6]uint64
}

// struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	error int32
	flags uint32
}

// continueFlag is SECCOMP_USER_NOTIF_FLAG_CONTINUE.
const continueFlag = 1

// ioctlSetFlags is SECCOMP_IOCTL_NOTIF_SET_FLAGS, syncWakeUp
// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP.
const (
	ioctlSetFlags = 0x40082104
	syncWakeUp    = 1
)

// answerCalls takes stopped calls, one after the other, writes them down and
// lets them continue. Before Linux 6.11 it may wait for ever when no process is
// left that could make a call; then the main goroutine ends the run.
func (r *run) answerCalls() {
	runtime.LockOSThread()
	for {
		var n notification
		switch _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.ENOENT: // the caller died meanwhile, or all have
			polled := []unix.PollFd{{Fd: int32(r.listener)}}
			if unix.Poll(polled, 0); polled[0].Revents != 0 {
				return
			}
			continue
		default:
			return
		}
		r.Lock()
		missed := r.missed
		r.examine(&n)
		answer := response{id: n.id, flags: continueFlag}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer))); errno == unix.ENOENT {
			r.missed = missed // the caller was killed: what could not be read of its call was not done
		}
		r.Unlock()
	}
}

func (r *run) examine(n *notification) {
	if n.architecture != unix.AUDIT_ARCH_X86_64 || n.number > calls.Last {
		r.foreign = true
		return
	}
	name := calls.Name(int(n.number))
	isExec := name == "execve" || name == "execveat"
	p := r.of(int(n.pid))
	if !r.started {
		// What this process does until it is the program is not the
		// program's.
		if !isExec {
			return
		}
		r.started = true
		r.becomes(p, r.options.Program)
		p.before = ""
		if r.counter == nil {
			p.entry.Calls[name]++
		}
		return
	}
	r.running = true
	r.after(p, isExec)
	if r.counter == nil {
		p.entry.Calls[name]++
	}
	if which, known := learn.Arguments[name]; known {
		r.argument(p, n, name, which)
	}
	for _, a := range pathCalls[name] {
		r.path(p, n, name, a)
	}
	switch name {
	case "bind", "connect", "listen", "sendto", "sendmsg", "sendmmsg":
		r.socket(p, n, name)
	case "mmap":
		r.mapped(p, n)
	case "fork", "vfork", "clone":
		r.forks()
	case "exit_group":
		r.peakOf(p)
		for _, child := range descendants(p.id) {
			r.of(child) // as long as it is known whose copy it is
		}
		r.gone(p)
	case "exit":
		delete(r.byThread, int(n.pid))
	}
}

// argument writes down the arguments that filters look at.
func (r *run) argument(p *process, n *notification, name string, which []int) {
	if strings.HasPrefix(name, "send") && n.arguments[which[0]]&unix.MSG_FASTOPEN == 0 {
		return
	}
	if name == "socket" {
		for key := range r.servers {
			if key[0] == p.id {
				delete(r.servers, key) // a number that was closed may come again
			}
		}
	}
	text := name
	for _, i := range which {
		text += " " + number(n.arguments[i])
	}
	p.entry.Arguments[text]++
}

// number writes an argument of 32 bits: small ones as a person would.
func number(value uint64) string {
	if v := uint32(value); v == 0xffffffff {
		return "-1"
	} else if v >= 1<<12 {
		return fmt.Sprintf("%#x", v)
	}
	return strconv.FormatUint(value&0xffffffff, 10)
}

// path writes down one path of a call.
func (r *run) path(p *process, n *notification, name string, a pathArgument) {
	address := n.arguments[a.path]
	if address == 0 {
		return // utimensat(2) of a descriptor
	}
	text, ok := readString(int(n.pid), address)
	if !ok {
		r.missed++
		return
	}
	use, flags := a.use, r.openFlags(n, name)
	if a.use == learn.Read {
		use = opened(flags)
	}
	absolute := strings.HasPrefix(text, "/")
	key := seen{call: n.number, use: a.use, path: text, other: flags}
	if absolute {
		if again := p.seen[key]; again != nil {
			again()
			return
		}
	}
	full, ok := r.absolute(n, text, a)
	if !ok {
		return
	}
	r.use(p, name, full, use, flags, key, absolute)
}

// openFlags are the flags with which a call opens; other calls have none.
func (r *run) openFlags(n *notification, name string) uint64 {
	switch name {
	case "open":
		return n.arguments[1]
	case "openat":
		return n.arguments[2]
	case "openat2":
		var how [8]byte // the first member of struct open_how
		if !readMemory(int(n.pid), n.arguments[2], how[:]) {
			r.missed++
		}
		return binary.NativeEndian.Uint64(how[:])
	case "creat":
		return unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	}
	return 0
}

// mapped writes down a file that is mapped as code.
func (r *run) mapped(p *process, n *notification) {
	if n.arguments[2]&unix.PROT_EXEC == 0 || n.arguments[3]&unix.MAP_ANONYMOUS != 0 {
		return // stopped only because everything is
	}
	file, ok := descriptorPath(int(n.pid), int(int32(n.arguments[4])))
	if ok && strings.HasPrefix(file, "/") && !strings.HasPrefix(file, "/memfd:") {
		p.entry.Use(file, learn.Map, learn.File, false)
	}
}

// readString reads a text that ends with a NUL out of a stopped process.
func readString(pid int, address uint64) (string, bool) {
	const page = 4096
	var text []byte
	for len(text) <= unix.PathMax {
		var b [page]byte
		// Not across a page: the next one may not be there.
		part := b[:page-address%page]
		if !readMemory(pid, address, part) {
			return "", false
		}
		for i, c := range part {
			if c == 0 {
				return string(append(text, part[:i]...)), true
			}
		}
		text = append(text, part...)
		address += uint64(len(part))
	}
	return "", false
}

func readMemory(pid int, address uint64, b []byte) bool {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	return err == nil && n == len(b)
}
