package confine

import (
	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Capability is one that the monitor keeps.
type Capability struct {
	Number int
	Name   string
	Why    string
	when   condition
}

// capabilities is the table. What is not there the monitor has not, in none of
// its sets. Two things are there for nothing: workers are signalled, looked at
// and measured because the monitor's user made their user namespace, which
// gives every right in it and none outside (user_namespaces(7)); cgroups are
// written as their owner. Listening sockets are the launcher's.
var capabilities = []Capability{
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "opens granted files whoever they belong to; reads what an exec brings along", either(opensFiles, splits, becomes)},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "writes granted files and logs whoever they belong to; makes the notify socket in a compartment's root; " +
		"reaches granted unix sockets; writes results of calls into workers", either(writesFiles, logs, notifies, becomes)},
	{unix.CAP_CHOWN, "CAP_CHOWN", "gives new files to whom their directory belongs", makesFiles},
	{unix.CAP_SETUID, "CAP_SETUID", "connects to unix sockets, and acts on granted files, as the component's user", becomes},
	{unix.CAP_SETGID, "CAP_SETGID", "the same for its groups", becomes},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "reads arguments of calls of a program that its own user may not read", secretProgram},
}

// Capabilities are those that the monitor of a plan keeps when root starts it.
// An ordinary user's has none.
func Capabilities(p *plan.Plan) []Capability {
	var all []Capability
	for _, c := range capabilities {
		if c.when.holds(p) {
			all = append(all, c)
		}
	}
	return all
}

// AskedBy is who makes the monitor of a plan need it, nil: nobody.
func (c Capability) AskedBy(p *plan.Plan) *Asker { return c.when(p) }

// Mask is the same as the kernel has it.
func Mask(all []Capability) uint64 {
	var mask uint64
	for _, c := range all {
		mask |= 1 << c.Number
	}
	return mask
}
