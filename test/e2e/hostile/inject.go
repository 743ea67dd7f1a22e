package hostile

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Inject makes the main thread of a process, which waits in a call, make
// another one, as code that was injected there would: PID NUMBER ARGUMENT...
func Inject(arguments []string) int {
	var n [6]uint64
	for i := range n {
		if i < len(arguments) {
			n[i], _ = strconv.ParseUint(arguments[i], 10, 64)
		}
	}
	if err := inject(int(n[0]), n[1], n[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		return 1
	}
	return 0
}

func inject(pid int, number uint64, arguments []uint64) error {
	runtime.LockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &r); err != nil {
		return fmt.Errorf("read the registers: %w", err)
	}
	var code [2]byte
	if _, err := unix.PtracePeekText(pid, uintptr(r.Rip-2), code[:]); err != nil || code != [2]byte{0x0f, 0x05} {
		return fmt.Errorf("it is in no call: %x, %v", code, err)
	}
	r.Rip -= 2
	r.Orig_rax = ^uint64(0) // or the kernel would restart the call that it was in
	r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10 = number, arguments[0], arguments[1], arguments[2], arguments[3]
	if err := unix.PtraceSetRegs(pid, &r); err != nil {
		return fmt.Errorf("write the registers: %w", err)
	}
	return unix.PtraceDetach(pid)
}
