package launch

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
)

// Build is the builder that the monitor starts when the init of a compartment
// has died: it builds that compartment again, hands its init over on
// descriptor 3 and is done. The plan is on descriptor 4.
func Build(component int, directory, group, libexec string) error {
	// The monitor's copy of the sweeper's pipe, behind the socket and the plan:
	// what is built must not keep it.
	unix.CloseOnExec(handover.PlanFD + 1)
	b, err := handover.ReadFile(handover.PlanFD, plan.MaximumSize)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		return err
	}
	if component < 0 || component >= len(p.Components) {
		return fmt.Errorf("build compartment %d: the plan has %d", component, len(p.Components))
	}
	site := sandbox.Site{
		Application: p.Application, Directory: directory, Group: group,
		Init: filepath.Join(libexec, "init"), Stub: filepath.Join(libexec, "stub"), Messages: os.Stderr,
	}
	made, err := sandbox.Create(site, &p.Components[component])
	if err != nil {
		return err
	}
	pid := binary.LittleEndian.AppendUint64(nil, uint64(made.Pid))
	if err := unix.Sendmsg(handover.HandoverFD, pid, unix.UnixRights(made.Control, made.Pidfd), nil, 0); err != nil {
		return fmt.Errorf("hand the compartment over: %w", err)
	}
	return nil
}
