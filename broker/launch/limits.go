package launch

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// raiseLimits makes sure that every component can have as many descriptors as
// its policy says: a limit can be lowered by anybody, but raised only with
// CAP_SYS_RESOURCE, which compartments do not have. Without a service manager
// the kernel's own hard limit is 4096, less than the supervisor's.
func raiseLimits(p *plan.Plan) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("look at the limit of open files: %w", err)
	}
	for _, c := range p.Components {
		if uint64(c.Limits.OpenFiles) <= limit.Max {
			continue
		}
		higher := unix.Rlimit{Cur: uint64(c.Limits.OpenFiles), Max: uint64(c.Limits.OpenFiles)}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &higher); err != nil {
			return fmt.Errorf("%s:%d:%d: component %q may have %d open files, but this process at most %d (ulimit -Hn): %w",
				c.Position.File, c.Position.Line, c.Position.Column, c.Name, c.Limits.OpenFiles, limit.Max, err)
		}
		limit = higher
	}
	return nil
}
