package launch

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
)

// builder is a running builder that waits for its order.
type builder struct {
	program string
	socket  int
	pid     int
}

// startBuilder starts the builder, which knows of nothing yet, so that it is ready
// when there is something to build. What it builds becomes this process's child
// when it ends.
func startBuilder(programs Programs) (*builder, error) {
	failed := func(err error) (*builder, error) {
		return nil, fmt.Errorf("start the builder %s: %w", programs.Builder, err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failed(os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err))
	}
	if b := earlyBuilder(programs.Builder); b != nil {
		return b, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return failed(os.NewSyscallError("socketpair", err))
	}
	b := &builder{program: programs.Builder, socket: pair[0]}
	far := os.NewFile(uintptr(pair[1]), "builder")
	defer far.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(b.socket)
		return failed(err)
	}
	defer null.Close()
	// With one processor Go starts faster, here and in libcontainer's processes,
	// to which it is passed on.
	b.pid, err = execute([]string{programs.Builder, filepath.Dir(programs.Init)},
		[]string{"GOMAXPROCS=1"}, []*os.File{null, null, os.Stderr, far}, nil)
	if err != nil {
		unix.Close(b.socket)
		return failed(err)
	}
	return b, nil
}

// ended says how it ended, who was to wait for an order.
func (b *builder) ended() error {
	if status := await(b.pid); status.Signaled() {
		return fmt.Errorf("the builder %s was killed by %s before it had an order; if nobody did that its file is broken: run make build, or install it again",
			b.program, unix.SignalName(status.Signal()))
	}
	return handover.ErrBuilder
}

// end waits for it. One that has not been told to build anything ends when its
// socket closes, and one that has undoes what it built.
func (b *builder) end() {
	if b.socket < 0 {
		return
	}
	unix.Close(b.socket)
	b.socket = -1
	await(b.pid)
}
