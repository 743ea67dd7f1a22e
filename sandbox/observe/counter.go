package observe

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// counter counts in the kernel, by eBPF, what need not be stopped to be
// understood: every system call by its number, and every capability that the
// kernel asked for and found. It counts in fixed places, so nothing can be
// dropped on the way; what finds no place is counted as lost.
//
// A process is one of the observed ones when its parent was at its fork. The
// programs are written with the assembler of cilium/ebpf: no compiler of C is
// needed, here or where it is built.
type counter struct {
	tracked *ebpf.Map // tgid: slot
	calls   *ebpf.Map // slot*callsPerSlot+number: count
	caps    *ebpf.Map // slot*capsPerSlot+number: count
	lost    *ebpf.Map // 0: processes that found no place
	links   []link.Link
	noCaps  error // why capabilities are not seen
}

const (
	mostSlots    = 64 // programs that are told apart; the last slot is all others'
	callsPerSlot = 512
	capsPerSlot  = 64
	mostTracked  = 1 << 16
)

// initialPIDNamespace is the inode of the first pid namespace
// (PROC_PID_INIT_INO, linux/proc_ns.h). eBPF knows pids by their number there.
const initialPIDNamespace = "pid:[4026531836]"

func newCounter() (_ *counter, err error) {
	if namespace, _ := os.Readlink("/proc/self/ns/pid"); namespace != initialPIDNamespace {
		return nil, errors.New("this is not the machine's first pid namespace")
	}
	pid, tgid, err := taskOffsets()
	if err != nil {
		return nil, err
	}
	c := &counter{}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for _, m := range []struct {
		to      **ebpf.Map
		kind    ebpf.MapType
		value   uint32
		entries uint32
	}{
		{&c.tracked, ebpf.Hash, 4, mostTracked},
		{&c.calls, ebpf.Array, 8, mostSlots * callsPerSlot},
		{&c.caps, ebpf.Array, 8, mostSlots * capsPerSlot},
		{&c.lost, ebpf.Array, 8, 1},
	} {
		if *m.to, err = ebpf.NewMap(&ebpf.MapSpec{Type: m.kind, KeySize: 4, ValueSize: m.value, MaxEntries: m.entries}); err != nil {
			return nil, fmt.Errorf("make a BPF map: %w", err)
		}
	}
	for _, p := range []struct {
		tracepoint string
		program    asm.Instructions
	}{
		{"sys_enter", c.enter()},
		{"sched_process_fork", c.fork(tgid)},
		{"sched_process_free", c.free(pid, tgid)},
	} {
		if err = c.attach(p.tracepoint, p.program); err != nil {
			return nil, err
		}
	}
	// The tracepoint is there from Linux 6.14 on.
	c.noCaps = c.attach("cap_capable", c.capable())
	return c, nil
}

func (c *counter) attach(tracepoint string, instructions asm.Instructions) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: instructions})
	if err != nil {
		return fmt.Errorf("load the BPF program for %s: %w", tracepoint, err)
	}
	defer program.Close() // the link holds it
	attached, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: program})
	if err != nil {
		return fmt.Errorf("attach to the tracepoint %s: %w", tracepoint, err)
	}
	c.links = append(c.links, attached)
	return nil
}

// taskOffsets finds where a struct task_struct of this kernel has its pids.
func taskOffsets() (pid, tgid int32, err error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, 0, fmt.Errorf("read the kernel's types: %w", err)
	}
	var task *btf.Struct
	if err := kernel.TypeByName("task_struct", &task); err != nil {
		return 0, 0, fmt.Errorf("find task_struct among the kernel's types: %w", err)
	}
	pid, tgid = -1, -1
	for _, member := range task.Members {
		switch member.Name {
		case "pid":
			pid = int32(member.Offset.Bytes())
		case "tgid":
			tgid = int32(member.Offset.Bytes())
		}
	}
	if pid < 0 || tgid < 0 {
		return 0, 0, errors.New("task_struct has no pid and tgid")
	}
	return pid, tgid, nil
}

// lookUpSlot looks for the current process among the tracked ones; R0 is then
// the address of its slot, and the program ends where there is none.
func (c *counter) lookUpSlot() asm.Instructions {
	return asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.StoreMem(asm.RFP, -4, asm.R0, asm.Word),
		asm.LoadMapPtr(asm.R1, c.tracked.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
	}
}

// addOne adds one to the element of an array map whose index is in R1.
func addOne(m *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
	}
}

func end() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return()}
}

func join(parts ...asm.Instructions) asm.Instructions {
	var all asm.Instructions
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// enter counts a call. Its context is (struct pt_regs *, long number).
func (c *counter) enter() asm.Instructions {
	return join(
		asm.Instructions{asm.LoadMem(asm.R6, asm.R1, 8, asm.DWord)},
		c.lookUpSlot(),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
			asm.JLT.Imm(asm.R6, callsPerSlot, "known"),
			asm.Mov.Imm(asm.R6, callsPerSlot-1), // of another architecture, or none
			asm.LSh.Imm(asm.R1, 9).WithSymbol("known"),
			asm.Add.Reg(asm.R1, asm.R6),
		},
		addOne(c.calls), end())
}

// fork tracks a new process in its parent's slot. Its context is (struct
// task_struct *parent, *child), and the current process is the parent.
func (c *counter) fork(tgid int32) asm.Instructions {
	return join(
		asm.Instructions{asm.LoadMem(asm.R6, asm.R1, 8, asm.DWord)},
		c.lookUpSlot(),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
			asm.StoreMem(asm.RFP, -8, asm.R1, asm.Word),
			asm.StoreImm(asm.RFP, -12, 0, asm.Word),
			asm.Mov.Reg(asm.R1, asm.RFP),
			asm.Add.Imm(asm.R1, -12),
			asm.Mov.Imm(asm.R2, 4),
			asm.Mov.Reg(asm.R3, asm.R6),
			asm.Add.Imm(asm.R3, tgid),
			asm.FnProbeReadKernel.Call(),
			asm.LoadMapPtr(asm.R1, c.tracked.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -12),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -8),
			asm.Mov.Imm(asm.R4, 0), // BPF_ANY
			asm.FnMapUpdateElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
			asm.Mov.Imm(asm.R1, 0),
		},
		addOne(c.lost), end())
}

// free forgets a process whose last task is gone. Its context is (struct
// task_struct *).
func (c *counter) free(pid, tgid int32) asm.Instructions {
	read := func(offset int32, to int16) asm.Instructions {
		return asm.Instructions{
			asm.StoreImm(asm.RFP, to, 0, asm.Word),
			asm.Mov.Reg(asm.R1, asm.RFP),
			asm.Add.Imm(asm.R1, int32(to)),
			asm.Mov.Imm(asm.R2, 4),
			asm.Mov.Reg(asm.R3, asm.R6),
			asm.Add.Imm(asm.R3, offset),
			asm.FnProbeReadKernel.Call(),
		}
	}
	return join(
		asm.Instructions{asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord)},
		read(pid, -4), read(tgid, -8),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.RFP, -4, asm.Word),
			asm.LoadMem(asm.R2, asm.RFP, -8, asm.Word),
			asm.JNE.Reg(asm.R1, asm.R2, "end"), // a thread, not the process
			asm.LoadMapPtr(asm.R1, c.tracked.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -8),
			asm.FnMapDeleteElem.Call(),
		}, end())
}

// capable counts what the kernel asked for and found. Its context is (const
// struct cred *, struct user_namespace *target, *found, int capability, int
// result). CAP_SYS_ADMIN is not counted: the kernel asks for it at each mapping
// of memory, to choose the better of two ways.
func (c *counter) capable() asm.Instructions {
	const sysAdmin = 21 // linux/capability.h
	return join(
		asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, 24, asm.DWord),
			asm.LoadMem(asm.R7, asm.R1, 32, asm.DWord),
			asm.LSh.Imm(asm.R7, 32), // the result is an int
			asm.JNE.Imm(asm.R7, 0, "end"),
			asm.LSh.Imm(asm.R6, 32),
			asm.RSh.Imm(asm.R6, 32),
			asm.JGE.Imm(asm.R6, capsPerSlot, "end"),
			asm.JEq.Imm(asm.R6, sysAdmin, "end"),
		},
		c.lookUpSlot(),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
			asm.LSh.Imm(asm.R1, 6),
			asm.Add.Reg(asm.R1, asm.R6),
		},
		addOne(c.caps), end())
}

// track puts a process into a slot.
func (c *counter) track(tgid int, slot uint32) error {
	return c.tracked.Put(uint32(tgid), min(slot, mostSlots-1))
}

// read returns the counts of a slot by the number of the call or capability.
func (c *counter) read(slot uint32) (calls, caps map[int]uint64, err error) {
	calls, err = readSlot(c.calls, slot, callsPerSlot)
	if err == nil {
		caps, err = readSlot(c.caps, slot, capsPerSlot)
	}
	return calls, caps, err
}

func readSlot(m *ebpf.Map, slot, size uint32) (map[int]uint64, error) {
	counts := map[int]uint64{}
	for i := range size {
		var count uint64
		if err := m.Lookup(slot*size+i, &count); err != nil {
			return nil, fmt.Errorf("read a BPF map: %w", err)
		}
		if count > 0 {
			counts[int(i)] = count
		}
	}
	return counts, nil
}

// lostProcesses is how many processes found no place.
func (c *counter) lostProcesses() uint64 {
	var count uint64
	if c.lost.Lookup(uint32(0), &count) != nil {
		return 0
	}
	return count
}

func (c *counter) close() {
	for _, l := range c.links {
		l.Close()
	}
	for _, m := range []*ebpf.Map{c.tracked, c.calls, c.caps, c.lost} {
		if m != nil {
			m.Close()
		}
	}
}
