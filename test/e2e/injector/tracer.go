package injector

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is struct ptrace_syscall_info (ptrace(2)) at the beginning of a call.
type call struct {
	op           uint8
	_            [3]uint8
	architecture uint32
	instruction  uint64
	stack        uint64
	number       uint64
	arguments    [6]uint64
	_            [2]uint64
}

// What a call's stop can be.
const (
	begins = 1 // PTRACE_SYSCALL_INFO_ENTRY
	ends   = 2 // PTRACE_SYSCALL_INFO_EXIT
)

// tracer follows threads; it is a thread that traces, not a process.
type tracer struct {
	*injector
	names   map[int]string       // of the threads that are known, "" of those that are let alone
	early   map[int]bool         // threads that stand still until their maker's event says who they are
	failing map[int]unix.Errno   // by thread: what its call is to end with
	options uintptr              // of ptrace(2)
	roles   func(pid int) string // who executes what, nil: nobody but the first is followed
}

// trace seizes all threads of some processes, says so, and follows them to
// their end.
func (in *injector) trace(processes map[int]string, libexec string, seized func()) error {
	runtime.LockOSThread()
	t := &tracer{
		injector: in, names: map[int]string{}, early: map[int]bool{}, failing: map[int]unix.Errno{},
		options: unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE,
	}
	if libexec != "" {
		var err error
		if t.roles, err = rolesOf(libexec); err != nil {
			return err
		}
		t.options |= unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	}
	for pid, name := range processes {
		if err := t.seize(pid, name); err != nil {
			return err
		}
	}
	seized()
	for {
		var status unix.WaitStatus
		thread, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD:
			return nil
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case status.Stopped():
			t.stopped(thread, status.StopSignal(), int(status)>>16)
		default:
			delete(t.names, thread)
			delete(t.failing, thread)
		}
	}
}

// seize takes the threads; a new one of a thread that is taken is taken too.
func (t *tracer) seize(pid int, name string) error {
	taken := map[string]bool{}
	for news := true; news; {
		news = false
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, entry := range threads {
			if taken[entry.Name()] {
				continue
			}
			thread, _ := strconv.Atoi(entry.Name())
			// EPERM: its maker was taken before it was made.
			if err := ptrace(unix.PTRACE_SEIZE, thread, 0, t.options); err != nil && err != unix.EPERM {
				return fmt.Errorf("seize thread %d of %d: %w", thread, pid, err)
			}
			if err := ptrace(unix.PTRACE_INTERRUPT, thread, 0, 0); err != nil {
				return fmt.Errorf("interrupt thread %d of %d: %w", thread, pid, err)
			}
			t.names[thread] = name
			taken[entry.Name()], news = true, true
		}
	}
	return nil
}

// stopped lets a thread go on that has stopped.
func (t *tracer) stopped(thread int, stop unix.Signal, event int) {
	name, known := t.names[thread]
	signal := 0
	switch {
	case stop == unix.SIGTRAP|0x80:
		t.inCall(thread)
	case event == unix.PTRACE_EVENT_STOP && stop != unix.SIGTRAP:
		ptrace(unix.PTRACE_LISTEN, thread, 0, 0) // the process was stopped, and stays so
		return
	case event == unix.PTRACE_EVENT_STOP && !known:
		t.early[thread] = true
		return
	case event == unix.PTRACE_EVENT_CLONE, event == unix.PTRACE_EVENT_FORK, event == unix.PTRACE_EVENT_VFORK:
		var made uint64
		if ptrace(unix.PTRACE_GETEVENTMSG, thread, 0, uintptr(unsafe.Pointer(&made))) == nil {
			heir := name
			if event != unix.PTRACE_EVENT_CLONE {
				heir = heirOf(name)
			}
			t.names[int(made)] = heir
			if t.early[int(made)] {
				delete(t.early, int(made))
				t.goOn(int(made), 0)
			}
		}
	case event == unix.PTRACE_EVENT_EXEC:
		t.names[thread] = t.roles(thread)
		delete(t.failing, thread)
	case event == 0:
		signal = int(stop)
	}
	t.goOn(thread, signal)
}

// goOn lets a thread go on to its next call. One that is let alone stops for
// nothing but what it makes and executes.
func (t *tracer) goOn(thread, signal int) {
	// One that was killed meanwhile is no longer there to go on.
	if t.roles != nil && t.names[thread] == "" {
		unix.PtraceCont(thread, signal)
		return
	}
	unix.PtraceSyscall(thread, signal)
}

// inCall sees a thread at the beginning or the end of a call. The filter looks
// at the call after this, and so at what is put in its place.
func (t *tracer) inCall(thread int) {
	var c call
	if ptrace(unix.PTRACE_GET_SYSCALL_INFO, thread, unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c))) != nil {
		return
	}
	switch c.op {
	case begins:
		if errno, yes := t.fails(thread, t.names[thread], c); yes && change(thread, func(r *unix.PtraceRegs) { r.Orig_rax = unix.SYS_GETPID }) {
			t.failing[thread] = errno
		}
	case ends:
		if errno, yes := t.failing[thread]; yes {
			delete(t.failing, thread)
			change(thread, func(r *unix.PtraceRegs) { r.Rax = uint64(-int64(errno)) })
		}
	}
}

func change(thread int, f func(*unix.PtraceRegs)) bool {
	var r unix.PtraceRegs
	if unix.PtraceGetRegs(thread, &r) != nil {
		return false
	}
	f(&r)
	return unix.PtraceSetRegs(thread, &r) == nil
}

func ptrace(request, thread int, address, data uintptr) error {
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(thread), address, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
