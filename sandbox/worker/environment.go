package worker

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// Environment is what a process started with, at most most bytes. A worker of an
// ordinary user's with an id of its own owns its /proc/PID/environ, and only root
// and itself may open that; its user, who made its user namespace, may read its
// memory all the same (ptrace(2)), and where it lies is told to who may
// (proc_pid_stat(5)).
func Environment(pid, most int) ([]byte, error) {
	directory := "/proc/" + strconv.Itoa(pid) + "/"
	b, err := ReadBounded(directory+"environ", most)
	if err != unix.EACCES {
		return b, err
	}
	stat, err := ReadBounded(directory+"stat", 1<<12)
	if err != nil {
		return nil, err
	}
	// Behind the name, which may hold anything, stands the third field.
	const start, end = 50 - 3, 51 - 3
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= end {
		return nil, unix.EPROTO
	}
	from, errFrom := strconv.ParseUint(string(fields[start]), 10, 64)
	to, errTo := strconv.ParseUint(string(fields[end]), 10, 64)
	switch {
	case errFrom != nil || errTo != nil || to < from:
		return nil, unix.EPROTO
	case from == 0: // it is not told, or there is none
		return nil, unix.EACCES
	case to == from:
		return nil, nil
	case to-from > uint64(most):
		return nil, unix.E2BIG
	}
	b = make([]byte, to-from)
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(from), Len: len(b)}}, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return b, err
}

// ReadBounded reads a file of /proc that may be at most most bytes long. Not by
// os.ReadFile, which registers what it opens with the runtime's poller.
func ReadBounded(name string, most int) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4096)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return b, nil
		}
		if b = b[:len(b)+n]; len(b) > most {
			return nil, unix.E2BIG
		}
	}
}
