package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/sandbox/worker"
)

// hide keeps others from tracing this process, from taking its descriptors
// and from finding it in a core dump.
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("refuse core dumps: %w", err)
	}
	return nil
}

// confine makes sure of the walls round this process and raises the last one,
// the filter, for all threads. It comes behind all that only a start does.
func (m *Monitor) confine() error {
	if err := m.stripped(); err != nil {
		return err
	}
	listener, err := loadFilter(m.handover.Filter)
	if err != nil {
		return fmt.Errorf("load the monitor's own filter: %w", err)
	}
	defer unix.Close(listener)
	// It ends a monitor that makes another call, and says which: nobody
	// who took this process over can keep it from doing so.
	if err := m.order(handover.OrderWatch, nil, listener); err != nil {
		return fmt.Errorf("have the monitor's calls watched: %w", err)
	}
	return nil
}

// stripped is an error if the launcher left this process more than the plan
// needs.
func (m *Monitor) stripped() error {
	allowed := uint64(0)
	if unix.Geteuid() == 0 {
		allowed = m.handover.Capabilities
	}
	status, err := worker.ReadBounded("/proc/self/status", 1<<16)
	if err != nil {
		return fmt.Errorf("look at the own walls: %w", err)
	}
	for _, set := range []string{"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"} {
		has, err := strconv.ParseUint(fieldOf(status, set), 16, 64)
		if err != nil {
			return fmt.Errorf("look at the own walls: %w", err)
		}
		if set == "CapBnd:" && unix.Geteuid() != 0 {
			continue // not an ordinary user's to change, and worth nothing with no_new_privs
		}
		if has&^allowed != 0 {
			return fmt.Errorf("the launcher left the capabilities %s %x, and the plan needs %x", set, has, allowed)
		}
	}
	if fieldOf(status, "NoNewPrivs:") != "1" {
		return errors.New("the launcher did not set no_new_privs")
	}
	return nil
}

// fieldOf is the value behind a key at the start of a line.
func fieldOf(status []byte, key string) string {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// loadFilter loads a filter for all threads and returns its listener.
func loadFilter(program []byte) (int, error) {
	if len(program) == 0 || len(program)%8 != 0 {
		return -1, unix.EINVAL
	}
	code := unix.SockFprog{Len: uint16(len(program) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	// WAIT_KILLABLE_RECV: or Go's own signals would interrupt the call that
	// is being told of, and restart it.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&code)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
