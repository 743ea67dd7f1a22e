package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// startSweeper starts a sweeper, the program and its arguments, for a directory
// whose lock it shares. It acts when the last copy of the pipe closes.
func startSweeper(command []string, lock int) (pipe, pid int, err error) {
	failed := func(err error) (int, int, error) { return -1, 0, fmt.Errorf("start the sweeper: %w", err) }
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return failed(err)
	}
	read := os.NewFile(uintptr(ends[0]), "pipe")
	defer read.Close()
	shared, err := unix.FcntlInt(uintptr(lock), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		unix.Close(ends[1])
		return failed(err)
	}
	lockFile := os.NewFile(uintptr(shared), "lock")
	defer lockFile.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(ends[1])
		return failed(err)
	}
	defer null.Close()
	if pid, err = execute(command, nil, []*os.File{null, null, os.Stderr, read, lockFile}, nil); err != nil {
		unix.Close(ends[1])
		return failed(err)
	}
	return ends[1], pid, nil
}
