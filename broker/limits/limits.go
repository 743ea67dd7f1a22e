// Package limits is about the limits that the processes of a launch need themselves.
package limits

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// Raise makes sure that every component can have as much as its policy
// says: a limit can be lowered by anybody, but raised only with
// CAP_SYS_RESOURCE, which compartments do not have. Without a service manager
// the kernel's own hard limit of open files is 4096, less than the supervisor's,
// and that of locked memory 8 MiB. With few processes (ulimit -u) an init would be
// killed by its own runtime, hours after the start.
func Raise(p *plan.Plan) error {
	for _, l := range []struct {
		resource     int
		what, option string
		of           func(plan.Limits) uint64
	}{
		{unix.RLIMIT_NOFILE, "open files", "n", func(l plan.Limits) uint64 { return uint64(l.OpenFiles) }},
		{unix.RLIMIT_NPROC, "processes", "u", func(l plan.Limits) uint64 { return uint64(l.Processes) }},
		{unix.RLIMIT_MEMLOCK, "bytes of locked memory", "l", func(l plan.Limits) uint64 { return l.Locked }},
		{unix.RLIMIT_FSIZE, "bytes in a file", "f", func(l plan.Limits) uint64 { return l.FileSize }},
		{unix.RLIMIT_CORE, "bytes in a core dump", "c", func(l plan.Limits) uint64 { return l.CoreSize }},
	} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(l.resource, &limit); err != nil {
			return fmt.Errorf("look at the limit of %s: %w", l.what, err)
		}
		for _, c := range p.Components {
			want := l.of(c.Limits)
			have := limit.Max
			if l.resource == unix.RLIMIT_NPROC {
				have = limit.Cur // nobody sets it again, in a compartment cgroups count
			}
			if want <= have {
				continue
			}
			higher := unix.Rlimit{Cur: limit.Cur, Max: max(want, limit.Max)}
			if l.resource == unix.RLIMIT_NOFILE || l.resource == unix.RLIMIT_NPROC {
				higher.Cur = want
			}
			if err := unix.Setrlimit(l.resource, &higher); err != nil {
				return fmt.Errorf("%s:%d:%d: component %q may have %d %s, but this process at most %d (ulimit -H%s): %w; raise that limit (limits.conf(5)), or lower the component's",
					c.Position.File, c.Position.Line, c.Position.Column, c.Name, want, l.what, limit.Max, l.option, err)
			}
			limit = higher
		}
	}
	return nil
}
