// Package core keeps a measurement on one core, where no wake-up crosses to another.
package core

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stay pins this thread to the core that it is on, and with it everything that it starts.
func Stay() error {
	runtime.LockOSThread()
	var core uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&core)), 0, 0); errno != 0 {
		return errno
	}
	var one unix.CPUSet
	one.Set(int(core))
	return unix.SchedSetaffinity(0, &one)
}
