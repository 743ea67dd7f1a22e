// Package sandbox compiles the filters of compartments and says what this kernel
// can enforce. libseccomp is known here and nowhere else. What builds a
// compartment is sandbox/compartment.
package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
)

// CompileFilters compiles the system call filter of every component that has
// none yet into Syscalls.Program. Compiling costs about a millisecond, loading
// the result a few microseconds, so it is done once, when the application
// starts, and never for a worker.
func CompileFilters(p *plan.Plan) error {
	for i := range p.Components {
		c := &p.Components[i]
		if len(c.Syscalls.Program) != 0 {
			continue
		}
		if c.Syscalls.Program = precompiled(c.Syscalls); c.Syscalls.Program != nil {
			continue
		}
		program, err := CompileFilter(c.Syscalls)
		if err != nil {
			return fmt.Errorf("compile the system call filter of component %q: %w", c.Name, err)
		}
		c.Syscalls.Program = program
	}
	return nil
}

// action translates an action. Refuse and Broker are the same to the kernel:
// the monitor is asked and tells them apart by the call.
func action(a plan.Action, errno int32) (seccomp.ScmpAction, error) {
	switch a {
	case plan.Allow:
		return seccomp.ActAllow, nil
	case plan.Errno:
		return seccomp.ActErrno.SetReturnCode(int16(errno)), nil
	case plan.Refuse, plan.Broker:
		return seccomp.ActNotify, nil
	case plan.Kill:
		return seccomp.ActKillProcess, nil
	}
	return seccomp.ActInvalid, fmt.Errorf("the plan has an unknown action %d", a)
}

var comparisons = map[plan.Comparison]seccomp.ScmpCompareOp{
	plan.Equal:          seccomp.CompareEqual,
	plan.NotEqual:       seccomp.CompareNotEqual,
	plan.Less:           seccomp.CompareLess,
	plan.LessOrEqual:    seccomp.CompareLessOrEqual,
	plan.Greater:        seccomp.CompareGreater,
	plan.GreaterOrEqual: seccomp.CompareGreaterEqual,
	plan.MaskedEqual:    seccomp.CompareMaskedEqual,
}

// CompileFilter lets libseccomp compile one filter, whatever was compiled before.
func CompileFilter(s plan.Syscalls) ([]byte, error) {
	program, err := assemble(s)
	if err != nil {
		return nil, err
	}
	return encode(arrange(program)), nil
}

// assemble lets libseccomp make the filter.
func assemble(s plan.Syscalls) ([]unix.SockFilter, error) {
	byDefault, err := action(s.Default, int32(unix.EPERM))
	if err != nil {
		return nil, err
	}
	filter, err := seccomp.NewFilter(byDefault)
	if err != nil {
		return nil, fmt.Errorf("libseccomp refuses the default action: %w", err)
	}
	defer filter.Release()
	// Searched by halves: the kernel runs a new filter once for every call
	// number to fill its cache, and a linear one makes that the dearest step
	// of starting a worker (SCMP_FLTATR_CTL_OPTIMIZE, libseccomp 2.5).
	if err := filter.SetOptimize(2); err != nil {
		return nil, fmt.Errorf("ask for a binary tree: %w", err)
	}
	// The native architecture only: x32 and int 0x80 have other numbers for
	// the same calls and would go round every rule.
	if err := filter.SetBadArchAction(seccomp.ActKillProcess); err != nil {
		return nil, fmt.Errorf("set the action for foreign architectures: %w", err)
	}
	for _, r := range s.Rules {
		if err := addRule(filter, byDefault, r); err != nil {
			return nil, fmt.Errorf("rule for %s: %w", r.Call, err)
		}
	}
	program, err := export(filter)
	if err != nil {
		return nil, err
	}
	return decode(program), nil
}

// decode reads an array of struct sock_filter, in host byte order.
func decode(program []byte) []unix.SockFilter {
	all := make([]unix.SockFilter, 0, len(program)/8)
	for ; len(program) >= 8; program = program[8:] {
		all = append(all, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(program), Jt: program[2], Jf: program[3],
			K: binary.NativeEndian.Uint32(program[4:]),
		})
	}
	return all
}

func encode(all []unix.SockFilter) []byte {
	program := make([]byte, 0, 8*len(all))
	for _, i := range all {
		program = binary.NativeEndian.AppendUint16(program, i.Code)
		program = append(program, i.Jt, i.Jf)
		program = binary.NativeEndian.AppendUint32(program, i.K)
	}
	return program
}

func addRule(filter *seccomp.ScmpFilter, byDefault seccomp.ScmpAction, r plan.Rule) error {
	number, ok := calls.Number(r.Call)
	if !ok {
		return errors.New("there is no such system call")
	}
	call := seccomp.ScmpSyscall(number)
	act, err := action(r.Action, r.Errno)
	if err != nil {
		return err
	}
	if act == byDefault {
		// libseccomp refuses rules that say nothing. Refuse and Broker
		// are one action to the kernel: the monitor knows which calls of
		// the component it performs.
		return nil
	}
	if len(r.Conditions) == 0 {
		return filter.AddRule(call, act)
	}
	conditions := make([]seccomp.ScmpCondition, 0, len(r.Conditions))
	for _, c := range r.Conditions {
		op, ok := comparisons[c.Comparison]
		if !ok {
			return fmt.Errorf("the plan has an unknown comparison %d", c.Comparison)
		}
		values := []uint64{c.Value}
		if c.Comparison == plan.MaskedEqual {
			values = []uint64{c.Mask, c.Value}
		}
		condition, err := seccomp.MakeCondition(c.Argument, op, values...)
		if err != nil {
			return err
		}
		conditions = append(conditions, condition)
	}
	return filter.AddRuleConditional(call, act, conditions)
}

func export(filter *seccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "filter")
	defer file.Close()
	if err := filter.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("export the filter: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	program, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read the exported filter: %w", err)
	}
	if len(program) == 0 || len(program)%8 != 0 || len(program)/8 > 4096 {
		return nil, fmt.Errorf("the compiled filter has %d bytes: %w", len(program), syscall.EINVAL)
	}
	return program, nil
}
