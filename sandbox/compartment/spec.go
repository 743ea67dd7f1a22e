package compartment

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/landlock"
)

// Records of the spec that the init of a compartment reads; see
// sandbox/init/init.h, where each payload is described.
const (
	specArgument     = 1
	specEnvironment  = 2
	specProgram      = 3
	specDirectory    = 4
	specIDs          = 5
	specRlimit       = 6
	specFilter       = 7
	specTemporary    = 8
	specProc         = 9
	specLandlock     = 10
	specLandlockPath = 11
	specCapabilities = 12
	specProcAccess   = 13
	specBackground   = 14
	specFilterEarly  = 15
)

const specMagic = "BHSPEC1\n"

// spec builds the spec of a component.
type spec struct{ b []byte }

func (s *spec) record(tag uint16, payload []byte) {
	s.b = binary.LittleEndian.AppendUint16(s.b, tag)
	s.b = binary.LittleEndian.AppendUint16(s.b, 0)
	s.b = binary.LittleEndian.AppendUint32(s.b, uint32(len(payload)))
	s.b = append(s.b, payload...)
}

func (s *spec) text(tag uint16, before []byte, text string) {
	s.record(tag, append(append(before, text...), 0))
}

func u32s(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func u64s(values ...uint64) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// newSpec writes down everything that the workers of c have in common. abi is
// the kernel's Landlock version, groups says whether the compartment's user
// namespace lets supplementary groups be set.
func newSpec(c *plan.Component, abi int, groups bool) ([]byte, error) {
	s := &spec{b: []byte(specMagic)}
	for _, a := range c.Arguments {
		s.text(specArgument, nil, a)
	}
	for _, e := range c.Environment {
		s.text(specEnvironment, nil, e)
	}
	s.text(specProgram, nil, c.Program)
	s.text(specDirectory, nil, c.Directory)

	set := uint32(0)
	ids := []uint32{c.User.UID, c.User.GID, c.Umask, set}
	if groups {
		ids[3] = 1
		ids = append(ids, c.User.Groups...)
	}
	s.record(specIDs, u32s(ids...))

	for _, r := range rlimits(c.Limits) {
		s.record(specRlimit, append(u32s(r.resource, 0), u64s(r.soft, r.hard)...))
	}
	capabilities, err := capabilityMask(c.Capabilities)
	if err != nil {
		return nil, err
	}
	s.record(specCapabilities, u64s(capabilities))
	s.record(specProc, u32s(uint32(c.Proc)))
	if c.Life.Background {
		s.record(specBackground, nil)
	}

	var rules landlock.Ruleset // without Landlock no rights
	if abi > 0 {
		rules = landlock.New(abi, c)
		s.landlock(c, rules)
	}
	for _, e := range c.Root {
		if e.Kind != plan.EntryTemporary {
			continue
		}
		rights := rules.Access(plan.Read|plan.Write, true)
		s.text(specTemporary, append(u64s(e.Size, rights), u32s(e.Mode)...), e.Target)
	}
	if len(c.Syscalls.Program) == 0 {
		return nil, fmt.Errorf("component %q: its system call filter is not compiled", c.Name)
	}
	s.record(specFilter, c.Syscalls.Program)
	if filtersEarly(c.Syscalls) {
		s.record(specFilterEarly, nil)
	}
	return s.b, nil
}

func (s *spec) landlock(c *plan.Component, r landlock.Ruleset) {
	s.record(specLandlock, append(u64s(r.Files, r.Network, r.Scoped), u32s(r.Size, 0)...))
	for _, e := range c.Root {
		var rights uint64
		switch e.Kind {
		case plan.EntryBind, plan.EntryStub:
			rights = r.Access(e.Access, e.Dir)
		case plan.EntryData:
			rights = r.Access(plan.Read, false)
		case plan.EntryDevice:
			rights = r.Device(e.Access)
		}
		if rights != 0 {
			s.text(specLandlockPath, u64s(rights), e.Target)
		}
	}
	if c.Proc != plan.ProcNone {
		s.record(specProcAccess, u64s(r.Access(plan.Read|plan.Write, true)))
	}
	// Directories of the skeleton may be listed: they hold nothing but the
	// names above. Beneath a bind the bind's own rule decides.
	s.text(specLandlockPath, u64s(unix.LANDLOCK_ACCESS_FS_READ_DIR), "/")
}

type rlimit struct {
	resource   uint32
	soft, hard uint64
}

// maximumPending is how many signals may wait for the workers of a component
// and how many timers they may have: the kernel counts by user.
const maximumPending = 16384

func rlimits(l plan.Limits) []rlimit {
	all := []rlimit{
		{unix.RLIMIT_CORE, l.CoreSize, l.CoreSize},
		{unix.RLIMIT_MEMLOCK, l.Locked, l.Locked},
		// POSIX message queues are memory that no cgroup's limit frees.
		{unix.RLIMIT_MSGQUEUE, 0, 0},
	}
	// Timers are kernel memory, and counted here (timer_create(2)). The limit can
	// only be lowered, and small machines have a lower one.
	var pending unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_SIGPENDING, &pending) == nil {
		most := min(pending.Max, maximumPending)
		all = append(all, rlimit{unix.RLIMIT_SIGPENDING, most, most})
	}
	if l.OpenFiles != 0 {
		all = append(all, rlimit{unix.RLIMIT_NOFILE, uint64(l.OpenFiles), uint64(l.OpenFiles)})
	}
	if l.FileSize != 0 {
		all = append(all, rlimit{unix.RLIMIT_FSIZE, l.FileSize, l.FileSize})
	}
	if l.CPUTime != 0 {
		// SIGXCPU first, a second later SIGKILL.
		seconds := uint64(math.Ceil(l.CPUTime.Seconds()))
		all = append(all, rlimit{unix.RLIMIT_CPU, seconds, seconds + 1})
	}
	return all
}
