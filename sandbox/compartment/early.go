package compartment

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Every call that a worker makes from when it waits for its orders to its exec
// (sandbox/init/orders.c, worker.c), with those of its arguments that a filter
// may ask for.
var callsOfOrders = []struct {
	name      string
	arguments map[uint]uint64
}{
	{"recvmsg", nil}, {"nanosleep", nil}, {"clock_nanosleep", nil}, // again.h
	{"prlimit64", map[uint]uint64{0: 0}}, // of its own limits
	{"fcntl", map[uint]uint64{1: unix.F_DUPFD_CLOEXEC}}, {"dup2", nil}, {"close", nil}, {"close_range", nil},
	{"execve", nil}, {"exit", nil},
}

// filtersEarly says whether workers can follow their orders behind their filter,
// because it allows what that takes. Then it is loaded before they wait for
// them, and one from a pool has it already: loading is the dearest part of what
// such a one would have left to do.
//
// One call that the filter gives to the monitor would stop the worker for ever:
// nobody answers before its program runs. So what is not sure is no.
func filtersEarly(s plan.Syscalls) bool {
	for _, call := range callsOfOrders {
		if !allows(s, call.name, call.arguments) {
			return false
		}
	}
	return true
}

// allows says whether a filter is sure to allow a call, whatever its other
// arguments are.
func allows(s plan.Syscalls, call string, arguments map[uint]uint64) bool {
	allowed := s.Default == plan.Allow
	for _, r := range s.Rules {
		if r.Call != call {
			continue
		}
		applies, sure := true, true
		for _, c := range r.Conditions {
			value, known := arguments[c.Argument]
			if !known {
				sure = false
			} else if !c.Holds(value) {
				applies = false
			}
		}
		switch {
		case !applies:
		case r.Action != plan.Allow:
			return false
		case sure:
			allowed = true
		}
	}
	return allowed
}
