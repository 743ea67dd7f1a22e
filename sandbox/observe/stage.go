package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StageCommand is the hidden command under which `sandbox` starts itself again:
// that process puts the filter on and becomes the observed program.
const StageCommand = "observed"

// orders is what the stage is told.
type orders struct {
	Program     string
	Arguments   []string
	Environment []string
	Directory   string
	Filter      []byte
	Identity    *Identity
	Privileged  bool // no_new_privs is not needed
}

// Identity is who a program is started as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
}

// Stage runs in the new process, with its socket to the observer behind the
// program's descriptors. On success it does not return.
//
// From the moment that this thread has its filter, its calls may wait for the
// observer, who takes the listener out of this process by itself: nothing here
// has to run for that.
func Stage(socket int) error {
	runtime.LockOSThread() // a filter and ids are a thread's own
	unix.CloseOnExec(socket)
	o, err := receiveOrders(socket)
	if err != nil {
		return err
	}
	if err := unix.Chdir(o.Directory); err != nil {
		return fmt.Errorf("change to the directory %s: %w", o.Directory, err)
	}
	if !o.Privileged {
		// Without CAP_SYS_ADMIN the kernel demands it: seccomp(2).
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	if err := install(o.Filter); err != nil {
		return fmt.Errorf("install the filter that observes: %w", err)
	}
	if errno := o.Identity.become(); errno != 0 {
		return fmt.Errorf("become user %d, group %d: %w", o.Identity.UID, o.Identity.GID, errno)
	}
	// With the observer ends what it observes; a change of ids forgets that,
	// so it comes after. The observer's main thread, which forked, ends last.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tie the program to sandbox: %w", err)
	}
	err = syscall.Exec(o.Program, o.Arguments, o.Environment)
	var errno syscall.Errno
	errors.As(err, &errno)
	unix.Write(socket, []byte{byte(errno)})
	os.Exit(126)
	return nil
}

func receiveOrders(socket int) (*orders, error) {
	var text []byte
	b := make([]byte, 1<<16)
	for {
		n, err := unix.Read(socket, b)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("this command is for sandbox learn, which starts it itself: %w", err)
		}
		if text = append(text, b[:n]...); text[len(text)-1] == '\n' {
			break
		}
	}
	o := &orders{}
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("read the orders: %w", err)
	}
	return o, nil
}

// install puts the filter on this thread. Its listener is closed by the exec.
func install(filter []byte) error {
	if len(filter) == 0 || len(filter)%8 != 0 {
		return unix.EINVAL
	}
	program := unix.SockFprog{Len: uint16(len(filter) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	// WAIT_KILLABLE_RECV (Linux 5.19): a call of a program that gets signals
	// often would else be interrupted and begun again for ever.
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// become changes this thread only: it is the one that executes.
func (i *Identity) become() syscall.Errno {
	if i == nil {
		return 0
	}
	groups := uintptr(0)
	if len(i.Groups) > 0 {
		groups = uintptr(unsafe.Pointer(&i.Groups[0]))
	}
	if _, _, errno := unix.Syscall(unix.SYS_SETGROUPS, uintptr(len(i.Groups)), groups, 0); errno != 0 {
		return errno
	}
	if _, _, errno := unix.Syscall(unix.SYS_SETRESGID, uintptr(i.GID), uintptr(i.GID), uintptr(i.GID)); errno != 0 {
		return errno
	}
	_, _, errno := unix.Syscall(unix.SYS_SETRESUID, uintptr(i.UID), uintptr(i.UID), uintptr(i.UID))
	return errno
}
