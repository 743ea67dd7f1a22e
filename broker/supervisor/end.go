package supervisor

import (
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// The exit statuses of Bulkhead itself; see docs and sandbox --help.
const (
	statusBroken   = 125
	statusNotRun   = 126
	statusNotFound = 127
	statusSignal   = 128
)

// executeStep is the step in which the kernel refuses the program itself
// rather than something that Bulkhead prepares for it.
const executeStep = "execute the program"

// end is how a worker ended.
type end struct {
	how    uint32 // wire.Exited, wire.Signaled, wire.NotRun
	code   uint32
	step   string // NotRun: what was tried
	reason string // in the monitor's words, or ""
	never  bool   // our own verdict, in reason, whatever how and code say
	fine   bool   // its policy calls it a normal end
	final  bool   // its finish command calls it a failure for good
	left   bool   // what it started ran on, and ended with it
}

// advice is what to do about an end that the policy did not mean.
func (e end) advice() string {
	if !e.left {
		return ""
	}
	return "; what it had started ended with it: a daemon that puts itself into the background has background: true"
}

func (e end) normal() bool { return (e.fine || e.how == wire.Exited && e.code == 0) && !e.never }

// status is the exit status that says how the worker ended.
func (e end) status() int {
	switch e.how {
	case wire.Exited:
		return int(e.code)
	case wire.Signaled:
		return statusSignal + int(e.code)
	}
	if e.step == executeStep {
		switch syscall.Errno(e.code) {
		case unix.ENOENT:
			return statusNotFound
		case unix.EACCES, unix.ENOEXEC:
			return statusNotRun
		}
	}
	return statusBroken
}

func (e end) String() string {
	var text string
	switch e.how {
	case wire.Exited:
		text = "exited with status " + strconv.Itoa(int(e.code))
	case wire.Signaled:
		text = "killed by " + signalName(syscall.Signal(e.code))
	default:
		why := e.reason
		if why == "" || e.never {
			why = syscall.Errno(e.code).Error()
		}
		text = fmt.Sprintf("%s: %s", e.step, why)
		if syscall.Errno(e.code) == unix.ECANCELED && why == unix.ECANCELED.Error() {
			text = e.step // which has the cause: no call failed
		}
	}
	switch {
	case e.reason == "" || e.reason == text:
		return text
	case e.how == wire.Exited:
		return e.reason + " (" + text + ")"
	case e.how == wire.NotRun && !e.never:
		return text
	}
	return e.reason
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(int(s))
}
