package landlock

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// truncatesWritten says whether a filter is sure to let a file be truncated only
// by who opens it for writing, which takes Landlock's right to write. ftruncate(2)
// always needs such a descriptor. Of the ways of open(2) two do not: O_TRUNC with
// O_RDONLY, and with access mode 3, which stands for neither reading nor writing.
// What the monitor performs it may leave to the kernel, and it goes by the call
// alone: so conditions say nothing there.
func truncatesWritten(s plan.Syscalls) bool {
	if s.Default == plan.Allow || s.Default == plan.Broker {
		return false
	}
	for _, r := range s.Rules {
		flags, opens := calls.OpenFlags(r.Call)
		switch {
		case r.Action != plan.Allow && r.Action != plan.Broker:
		case calls.TruncatesUnwritten(r.Call):
			return false
		case opens && (r.Action == plan.Broker || !excludes(r.Conditions, flags)):
			return false
		}
	}
	return true
}

// excludes says whether the conditions of a rule are sure to hold for no flags
// that truncate without writing.
func excludes(conditions []plan.Condition, flags uint) bool {
	const bits = unix.O_TRUNC | unix.O_ACCMODE
	for _, c := range conditions {
		if c.Argument != flags || c.Comparison != plan.MaskedEqual {
			continue
		}
		// No value of the bits besides could make these two equal.
		differs := func(flags uint64) bool { return flags&c.Mask&bits != c.Value&bits }
		if differs(unix.O_TRUNC|unix.O_RDONLY) && differs(unix.O_TRUNC|unix.O_ACCMODE) {
			return true
		}
	}
	return false
}
