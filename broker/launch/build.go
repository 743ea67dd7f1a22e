package launch

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bulkhead/broker/handover"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
)

// Build is the builder, which the keeper starts when the init of a compartment
// has died: it builds that compartment again, hands its init over on descriptor
// 3 and is done. A packet there says which one; the plan is on descriptor 4.
func Build(directory, group, libexec string) error {
	// The monitor's copy of the sweeper's pipe, behind the socket and the plan:
	// what is built must not keep it.
	unix.CloseOnExec(handover.PlanFD + 1)
	var wanted [8]byte // one more than its four bytes, to see what is too large
	n, err := unix.Read(handover.HandoverFD, wanted[:])
	if err != nil || n != 4 {
		return fmt.Errorf("read which compartment to build: %d bytes: %w", n, cmp.Or(err, error(unix.EPROTO)))
	}
	component := int(binary.LittleEndian.Uint32(wanted[:]))
	b, err := handover.ReadFile(handover.PlanFD, plan.MaximumSize)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p, err := plan.Decode[plan.Plan](b)
	if err != nil {
		return err
	}
	if component >= len(p.Components) {
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
