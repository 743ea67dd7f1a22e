package inspect

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Seccomp is a process's system call filters.
type Seccomp struct {
	Mode    string   `json:"mode"`   // off, strict, filter
	Loaded  int      `json:"loaded"` // how many filters; -1: the kernel does not tell
	Filters []Filter `json:"filters,omitempty"`
	Calls   *Calls   `json:"calls,omitempty"` // what they do together
}

// Filter is one filter as the kernel has it.
type Filter struct {
	Instructions int    `json:"instructions"`
	Program      []byte `json:"program"` // struct sock_filter in host byte order
}

func seccompMode(mode int) string {
	switch mode {
	case 0:
		return "off"
	case 1:
		return "strict"
	}
	return "filter"
}

func (s *Seccomp) words() string {
	switch {
	case s.Mode == "off":
		return "no filter: every call reaches the kernel"
	case s.Mode == "strict":
		return "only read, write, exit and sigreturn"
	case s.Calls != nil:
		return fmt.Sprintf("%d of %d calls allowed", s.Calls.Allowed, s.Calls.Known)
	case s.Loaded == 1 || s.Loaded < 0:
		return "a filter"
	}
	return fmt.Sprintf("%d filters", s.Loaded)
}

func (s *Seccomp) summarize() {
	if len(s.Filters) > 0 {
		programs := make([]program, len(s.Filters))
		for k := range s.Filters {
			programs[k] = decodeProgram(s.Filters[k].Program)
		}
		s.Calls = describeCalls(programs)
	}
}

// ptracePatience bounds the wait for a process to stop. One that sits in a
// call that its own filter handed to another process may not stop for long.
const ptracePatience = 200 * time.Millisecond

// readFilters reads the filters of a process, the newest first
// (PTRACE_SECCOMP_GET_FILTER, ptrace(2)). It takes CAP_SYS_ADMIN in the first
// user namespace and an inspector that is not filtered itself. The process is
// stopped for some microseconds; a blocking call that it is in starts anew,
// or, as epoll_wait(2), fails with EINTR as after SIGSTOP and SIGCONT.
func readFilters(pid int) ([]Filter, error) {
	type result struct {
		filters []Filter
		err     error
	}
	answer := make(chan result, 1)
	go func() {
		// The tracer is a thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		filters, stopped, err := traceFilters(pid)
		answer <- result{filters, err}
		if stopped {
			return
		}
		// It stops later, and is let go then. The end of the thread would
		// do that too, but the first thread of a Go program never ends.
		for is, gone := traced(pid); !is && !gone; is, gone = traced(pid) {
			time.Sleep(ptracePatience / 10)
		}
		unix.PtraceDetach(pid)
	}()
	r := <-answer
	return r.filters, r.err
}

func traceFilters(pid int) (filters []Filter, stopped bool, err error) {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return nil, true, os.NewSyscallError("ptrace(PTRACE_SEIZE)", errno)
	}
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return nil, false, os.NewSyscallError("ptrace(PTRACE_INTERRUPT)", errno)
	}
	for deadline := time.Now().Add(ptracePatience); ; {
		is, gone := traced(pid)
		if gone {
			return nil, true, errGone
		}
		if is {
			break
		}
		if time.Now().After(deadline) {
			return nil, false, fmt.Errorf("it did not stop within %v", ptracePatience)
		}
		time.Sleep(20 * time.Microsecond)
	}
	defer unix.PtraceDetach(pid)
	for index := 0; ; index++ {
		// Without a place to write to, the answer is the number of instructions.
		count, errno := getFilter(pid, index, nil)
		if errno == unix.ENOENT {
			return filters, true, nil
		}
		if errno != 0 {
			return nil, true, fmt.Errorf("ptrace(PTRACE_SECCOMP_GET_FILTER): %w%s", errno, filterAdvice(errno))
		}
		program := make([]byte, count*8)
		if count > 0 {
			if _, errno := getFilter(pid, index, unsafe.Pointer(&program[0])); errno != 0 {
				return nil, true, os.NewSyscallError("ptrace(PTRACE_SECCOMP_GET_FILTER)", errno)
			}
		}
		filters = append(filters, Filter{Instructions: count, Program: program})
	}
}

// traced says whether a process that this thread traces has stopped, or is gone.
// It asks ptrace and not wait4 alone: where this program is the process's parent
// too, a wait of another thread may have taken the news.
func traced(pid int) (stopped, gone bool) {
	var status unix.WaitStatus
	waited, err := unix.Wait4(pid, &status, unix.WNOHANG|unix.WALL, nil)
	if waited == pid {
		return status.Stopped(), !status.Stopped()
	}
	if err == unix.ECHILD {
		return false, true
	}
	_, errno := getFilter(pid, 0, nil)
	return errno != unix.ESRCH, false
}

func filterAdvice(errno syscall.Errno) string {
	switch errno {
	case unix.EACCES:
		return " (it takes CAP_SYS_ADMIN and an inspector without a filter of its own)"
	case unix.EIO:
		return " (this kernel has no CONFIG_CHECKPOINT_RESTORE)"
	}
	return ""
}

func getFilter(pid, index int, to unsafe.Pointer) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), uintptr(index), uintptr(to), 0, 0)
	return int(n), errno
}

// decodeProgram reads an array of struct sock_filter in host byte order.
func decodeProgram(b []byte) program {
	p := make(program, len(b)/8)
	for k := range p {
		at := b[8*k:]
		p[k] = instruction{binary.NativeEndian.Uint16(at), at[2], at[3], binary.NativeEndian.Uint32(at[4:])}
	}
	return p
}
