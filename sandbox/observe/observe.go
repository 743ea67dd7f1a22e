// Package observe runs a program, unconfined, and writes down what it and
// everything that it starts asks of the kernel: the material of a policy.
//
// How it sees, and why nothing is missed: a seccomp filter, which no child can
// leave, stops each call that carries a path, an address or an argument that
// policies look at (user notification). The observer reads the argument while
// the caller stands still, writes it down, and lets the call continue. What
// needs only be counted, each call's number and each capability that was used,
// is counted in the kernel by eBPF. Where eBPF cannot be had, by an ordinary
// user or in a container, every call is stopped: slower, and as complete.
//
// CONTINUE lets the kernel read the argument a second time, so a program that
// changes it meanwhile could hide what it does. Nothing is decided here, so
// that is no hole; but learning is for programs that one trusts, and the page
// docs/learn.md says so.
//
//	observe.go       one run, from start to end
//	stage.go         the new process, until it is the program
//	filter.go        which calls are stopped; table.go says why
//	notification.go  what is read of a stopped call
//	resolve.go       what a path means to the process that used it
//	process.go       which process is which program
//	counter.go       counting in the kernel
//	peak.go          how much was used at once
package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/learn"
)

// Options say what to run and how.
type Options struct {
	Program     string   // absolute path
	Arguments   []string // with the program's name first
	Environment []string
	Directory   string
	Identity    *Identity // nil: as the caller
	Absent      []string  // calls that answer ENOSYS, because no policy can allow them
	Denied      []string  // calls that are denied all the same
	// Everything stops every call instead of counting by eBPF.
	Everything bool
	// Signals end the program: the first asks it to, the second kills all.
	Signals <-chan os.Signal
	// Say tells the user something.
	Say func(format string, arguments ...any)
}

// patience is how long a program may take to end after it was asked to.
const patience = 10 * time.Second

// Run runs a program to its end, and that of everything that it started. It
// must be called from the main goroutine, locked to the main thread. The
// status is that of the program itself.
func Run(o Options) (*learn.Record, unix.WaitStatus, error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, 0, fmt.Errorf("become the parent of what goes into the background: %w", err)
	}
	r := &run{options: o, record: learn.NewRecord(), listener: -1}
	if !o.Everything {
		var err error
		if r.counter, err = newCounter(); err != nil {
			r.counter = nil
			o.Say("every call is stopped, which is slower: counting by eBPF is not possible: %v", err)
		} else {
			defer r.counter.close()
		}
	}
	if err := r.start(); err != nil {
		return nil, 0, err
	}
	status, err := r.follow()
	if err != nil {
		return nil, 0, err
	}
	r.finish(status)
	return r.record, status, nil
}

// run is one run. Its lock is held while a call is looked at, and by the main
// goroutine while that looks at the processes.
type run struct {
	sync.Mutex
	options  Options
	record   *learn.Record
	counter  *counter // nil: every call is stopped
	listener int
	main     int  // pid of the program itself
	started  bool // the program is being executed
	running  bool // the program has made its first call
	stopped  bool // it was asked to end
	processes
	peaks
	sockets
	relative bool
	chrooted bool
	foreign  bool // calls of another architecture were made
	missed   uint64
}

// start makes the process that becomes the program, and gets its listener.
func (r *run) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket to the program's process: %w", err)
	}
	mine := pair[0]
	defer unix.Close(mine)
	text, err := json.Marshal(orders{
		Program: r.options.Program, Arguments: r.options.Arguments, Environment: r.options.Environment, Directory: r.options.Directory,
		Filter: filter(r.counter == nil, r.options.Absent, r.options.Denied), Identity: r.options.Identity, Privileged: os.Geteuid() == 0,
	})
	if err != nil {
		unix.Close(pair[1])
		return fmt.Errorf("write the orders: %w", err)
	}
	// The socket behind the program's own descriptors.
	const socket = 3
	r.main, err = syscall.ForkExec("/proc/self/exe", []string{"sandbox", StageCommand, strconv.Itoa(socket)},
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2, uintptr(pair[1])}})
	unix.Close(pair[1])
	if err != nil {
		return fmt.Errorf("start %s: %w", r.options.Program, err)
	}
	if r.counter != nil {
		if err := r.counter.track(r.main, 0); err != nil {
			r.end(unix.SIGKILL)
			return fmt.Errorf("follow the program's process: %w", err)
		}
	}
	for text = append(text, '\n'); len(text) > 0 && err == nil; {
		var n int
		n, err = unix.SendmsgN(mine, text, nil, nil, unix.MSG_NOSIGNAL)
		text = text[max(n, 0):]
	}
	if err == nil {
		r.listener, err = r.takeListener(mine)
	}
	if err != nil {
		r.end(unix.SIGKILL)
		var status unix.WaitStatus
		unix.Wait4(r.main, &status, 0, nil)
		return fmt.Errorf("get the listener of %s: %w", r.options.Program, err)
	}
	// The call that fails to execute answers here, a good one closes it.
	r.answer, err = unix.Dup(mine)
	return err
}

// listenerName is what /proc/PID/fd calls a listener.
const listenerName = "anon_inode:seccomp notify"

// takeListener takes the listener out of the new process, which may stand still
// from the moment that it has one.
func (r *run) takeListener(socket int) (int, error) {
	pidfd, err := unix.PidfdOpen(r.main, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	directory := "/proc/" + strconv.Itoa(r.main) + "/fd"
	for {
		entries, err := os.ReadDir(directory)
		if err != nil {
			return -1, err
		}
		for _, entry := range entries {
			if name, err := os.Readlink(directory + "/" + entry.Name()); err != nil || name != listenerName {
				continue
			}
			number, err := strconv.Atoi(entry.Name())
			if err != nil {
				return -1, err
			}
			return unix.PidfdGetfd(pidfd, number, 0) // close-on-exec here
		}
		polled := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}
		if n, err := unix.Poll(polled, 1); n > 0 && err == nil {
			return -1, errors.New("its process ended before it had a filter")
		}
	}
}

// end sends a signal to the program, or, when it has ended, to all that it
// left behind.
func (r *run) end(signal unix.Signal) {
	if !r.mainEnded {
		unix.Kill(r.main, signal)
		return
	}
	for _, pid := range descendants(os.Getpid()) {
		unix.Kill(pid, signal)
	}
}

// kill ends everything. Who forks faster than one walk of the tree is met by
// the next.
func (r *run) kill() {
	for range 100 {
		all := descendants(os.Getpid())
		if len(all) == 0 {
			return
		}
		for _, pid := range all {
			unix.Kill(pid, unix.SIGKILL)
		}
		r.reap()
		time.Sleep(time.Millisecond)
	}
}

// follow answers calls until no process with the filter is left.
func (r *run) follow() (unix.WaitStatus, error) {
	defer unix.Close(r.listener)
	defer unix.Close(r.answer)
	// The cheapest way of waking each other is to stay on one processor
	// (Linux 6.6); where it is not known, nothing is lost.
	unix.Syscall(unix.SYS_IOCTL, uintptr(r.listener), ioctlSetFlags, syncWakeUp)
	go r.answerCalls()
	var deadline time.Time
	for {
		polled := []unix.PollFd{{Fd: int32(r.listener)}}
		if _, err := unix.Poll(polled, int(lookEvery/time.Millisecond)); err != nil && err != unix.EINTR {
			return 0, fmt.Errorf("wait for the end of the program: %w", err)
		}
		over := polled[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		r.Lock()
		r.reap()
		if over {
			r.Unlock()
			if r.mainEnded {
				return r.status, nil
			}
			time.Sleep(time.Millisecond) // it has no task any more, and is about to be reaped
			continue
		}
		r.look()
		deadline = r.signals(deadline)
		r.Unlock()
	}
}

// signals passes on what the user wants, and returns when patience ends.
func (r *run) signals(deadline time.Time) time.Time {
	if r.mainEnded && !r.saidBackground && !r.stopped {
		r.saidBackground = true
		r.options.Say("the program has ended, and what it started goes on: ^C ends that")
	}
	select {
	case <-r.options.Signals:
		if r.stopped {
			r.kill()
			return deadline
		}
		r.stopped, deadline = true, time.Now().Add(patience)
		r.end(unix.SIGTERM)
	default:
	}
	if r.stopped && r.mainEnded && !r.askedRest {
		r.askedRest = true
		r.end(unix.SIGTERM)
	}
	if r.stopped && time.Now().After(deadline) {
		r.options.Say("it did not end within %v and is killed", patience)
		r.kill()
		deadline = time.Now().Add(patience)
	}
	return deadline
}

// reap collects what has ended; orphans come to this process.
func (r *run) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return
		}
		if pid == r.main {
			r.mainEnded, r.status = true, status
		}
	}
}

// finish completes the record.
func (r *run) finish(status unix.WaitStatus) {
	about := learn.Run{
		Command: append([]string{r.options.Program}, r.options.Arguments[1:]...), Directory: r.options.Directory,
		User: uint32(os.Geteuid()), Relative: r.relative, Ended: ended(status), Stopped: r.stopped, Background: r.saidBackground, Mechanism: "notification and eBPF",
	}
	if i := r.options.Identity; i != nil {
		about.User = i.UID
	}
	about.Failed = !r.stopped && (status.Signaled() || status.ExitStatus() != 0)
	for _, variable := range r.options.Environment {
		name, _, _ := strings.Cut(variable, "=")
		about.Environment = append(about.Environment, name)
	}
	incomplete := func(format string, arguments ...any) {
		about.Incomplete = append(about.Incomplete, fmt.Sprintf(format, arguments...))
	}
	switch {
	case r.counter == nil:
		about.Mechanism = "notification of every call"
		about.Incomplete = append(about.Incomplete, "capabilities were not seen, for want of eBPF")
	default:
		if err := r.collect(); err != nil {
			incomplete("calls were not counted: %v", err)
		}
		if lost := r.counter.lostProcesses(); lost > 0 {
			incomplete("%d processes were not counted: more than %d at once", lost, mostTracked)
		}
		if r.counter.noCaps != nil {
			incomplete("capabilities were not seen: %v", r.counter.noCaps)
		}
	}
	if r.foreign {
		incomplete("calls of another architecture (32-bit programs) were made: no policy can allow them")
	}
	if r.missed > 0 {
		incomplete("the arguments of %d calls could not be read", r.missed)
	}
	r.record.Runs = []learn.Run{about}
	r.peaks.write(r)
}

func ended(status unix.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + unix.SignalName(status.Signal())
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}
