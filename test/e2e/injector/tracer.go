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

// trace seizes all threads of a process, says so, and follows them to their end.
func (in *injector) trace(pid int, seized func()) error {
	runtime.LockOSThread() // it is a thread that traces, not a process
	if err := seize(pid); err != nil {
		return err
	}
	seized()
	failing := map[int]unix.Errno{} // by thread: what its call is to end with
	for {
		var status unix.WaitStatus
		thread, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return nil
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		}
		if !status.Stopped() {
			continue
		}
		signal := 0
		switch stop, event := status.StopSignal(), int(status)>>16; {
		case stop == unix.SIGTRAP|0x80:
			in.stopped(pid, thread, failing)
		case event == unix.PTRACE_EVENT_STOP && stop != unix.SIGTRAP:
			ptrace(unix.PTRACE_LISTEN, thread, 0, 0) // the process was stopped, and stays so
			continue
		case event == 0:
			signal = int(stop)
		}
		// One that was killed meanwhile is no longer there to go on.
		unix.PtraceSyscall(thread, signal)
	}
}

// seize takes the threads; a new one of a thread that is taken is taken too.
func seize(pid int) error {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
	taken := map[string]bool{}
	for news := true; news; {
		news = false
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, t := range threads {
			if taken[t.Name()] {
				continue
			}
			thread, _ := strconv.Atoi(t.Name())
			// EPERM: its maker was taken before it was made.
			if err := ptrace(unix.PTRACE_SEIZE, thread, 0, options); err != nil && err != unix.EPERM {
				return fmt.Errorf("seize thread %d of %d: %w", thread, pid, err)
			}
			if err := ptrace(unix.PTRACE_INTERRUPT, thread, 0, 0); err != nil {
				return fmt.Errorf("interrupt thread %d of %d: %w", thread, pid, err)
			}
			taken[t.Name()], news = true, true
		}
	}
	return nil
}

// stopped sees a thread at the beginning or the end of a call. The filter looks
// at the call after this, and so at what is put in its place.
func (in *injector) stopped(pid, thread int, failing map[int]unix.Errno) {
	var c call
	if ptrace(unix.PTRACE_GET_SYSCALL_INFO, thread, unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c))) != nil {
		return
	}
	switch c.op {
	case begins:
		if errno, yes := in.fails(pid, c); yes && change(thread, func(r *unix.PtraceRegs) { r.Orig_rax = unix.SYS_GETPID }) {
			failing[thread] = errno
		}
	case ends:
		if errno, yes := failing[thread]; yes {
			delete(failing, thread)
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
