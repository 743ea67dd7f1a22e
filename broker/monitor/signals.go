package monitor

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// shield keeps signals from the loop's thread, which is the caller's; another
// thread of the process gets them. One that arrives while the thread injects a
// descriptor (hand) would break a promise: the kernel has taken the call for
// answered by then, takes the descriptor back, and lets the worker's open return
// 0, its standard input (kernel/seccomp.c, seccomp_notify_addfd, to Linux 6.18 at
// least). Go's runtime sends signals to preempt, and a child that ends sends one.
//
// What a thread does to itself, a fault, stays: the kernel would end the process
// without a word. So do the three with which libraries reach every thread
// (nptl(7)). Threads that the runtime makes later have the mask that the process
// began with.
func shield() error {
	var all unix.Sigset_t
	for s := 1; s <= 64; s++ {
		switch unix.Signal(s) {
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, 32, 33, 34:
		default:
			all.Val[0] |= 1 << (s - 1)
		}
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		return fmt.Errorf("keep signals from the loop's thread: %w", err)
	}
	return nil
}

// catchSignals turns the signals that ask the broker to stop into requests to
// the supervisor, who stops the components in order. What the broker was started to
// ignore, by nohup(1) or a shell's &, asks for nothing.
func (m *Monitor) catchSignals() {
	signals := make(chan os.Signal, 4)
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	signal.Ignore(unix.SIGPIPE)
	go func() {
		for s := range signals {
			m.loop.post(func() { m.stopAsked(s.(unix.Signal)) })
		}
	}()
}
