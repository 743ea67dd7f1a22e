// Command vm boots a virtual machine, runs one command in it and ends as that command ended.
//
// The tests that need root, a kernel of a known version or a pure cgroup v2 hierarchy run here, so
// that they never depend on the machine of whoever runs them. See README.md for the use.
//
// The one binary plays two parts. On the host it finds a kernel, packs an initramfs and starts
// qemu (machine.go). It also packs itself as /init, and where it finds itself to be pid 1 it
// sets the machine up and runs the command (guest.go). What the two say to each other is in wire.go.
//
// Only the standard library is used: the lane has to work while the module's dependencies change.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// Exit statuses of the lane itself; everything else is the command's own.
const (
	statusTimeout = 124 // as timeout(1)
	statusLane    = 125 // the lane failed, not the command
	statusNoExec  = 126
	statusMissing = 127
)

func init() {
	// qemu is started with PR_SET_PDEATHSIG, which follows the thread that forked. The main
	// thread lives as long as the process does; others may end earlier.
	runtime.LockOSThread()
}

func main() {
	if os.Args[0] == guestInit {
		guestMain()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	opts, err := parseOptions(os.Args[1:])
	if err != nil {
		say("%v", err)
		os.Exit(statusLane)
	}
	status, err := launch(ctx, opts)
	if err != nil {
		say("%v", err)
	}
	os.Exit(status)
}

// launch does everything between the command line and the exit status.
func launch(ctx context.Context, opts *options) (int, error) {
	unlock, err := oneAtATime(ctx, opts.cache)
	if err != nil {
		return statusLane, err
	}
	defer unlock()

	kernel, err := findKernel(ctx, opts.cache, opts.kernel)
	if err != nil {
		return statusLane, err
	}
	initrd, err := packInitramfs(ctx, opts, kernel)
	if err != nil {
		return statusLane, err
	}
	defer initrd.Close()
	return runMachine(ctx, opts, kernel, initrd)
}

// say writes one line of the lane's own, marked so that it is not taken for the command's output.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...)
}
