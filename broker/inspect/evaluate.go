package inspect

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"
)

// A classic BPF program as seccomp(2) takes it. Jumps go forward only, so
// every path ends.
type (
	program     []instruction
	instruction struct {
		code   uint16
		jt, jf uint8
		k      uint32
	}
)

// The architectures of struct seccomp_data (linux/audit.h).
const (
	architecture     = 0xc000003e // AUDIT_ARCH_X86_64
	architectureI386 = 0x40000003 // AUDIT_ARCH_I386
	x32Bit           = 0x40000000 // in the numbers of x32 calls
)

// test is what one branch of a program asks about a word of an argument: the
// word and mask, compared with value.
type test struct {
	word    int // 2*argument, plus 1 for the upper half
	mask    uint32
	compare string // ==, !=, >, <=, >=, <
	value   uint32
}

// way is one way through a program: the answer when all tests hold.
type way struct {
	tests  []test
	answer uint32 // SECCOMP_RET_…
}

// maximumPaths bounds the work for one call. Filters of real programs have a
// few dozen at most.
const maximumPaths = 512

// value is what a register or a memory cell holds: a number, or a word of an
// argument and a mask of it, or something that is not followed.
type value struct {
	known  bool
	number uint32
	word   int // -1: not followed
	mask   uint32
}

func constant(n uint32) value { return value{known: true, number: n, word: -1} }

// machine is a state of the interpreter.
type machine struct {
	pc     int
	a, x   value
	memory [16]value
	tests  []test
}

// evaluate follows every path that the program can take for a call whose
// arguments are unknown.
func evaluate(p program, arch, number uint32) ([]way, error) {
	zero := constant(0)
	start := machine{a: zero, x: zero}
	for k := range start.memory {
		start.memory[k] = zero
	}
	waiting := []machine{start}
	var paths []way
	for len(waiting) > 0 {
		m := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		answer, forks, err := m.run(p, arch, number)
		if err != nil {
			return nil, err
		}
		if forks == nil {
			paths = append(paths, way{m.tests, answer})
		}
		// The jump that is taken goes last and is followed first: paths come
		// in the order of the program.
		for k := len(forks) - 1; k >= 0; k-- {
			waiting = append(waiting, forks[k])
		}
		if len(paths)+len(waiting) > maximumPaths {
			return nil, fmt.Errorf("more than %d ways through the filter", maximumPaths)
		}
	}
	return paths, nil
}

// run goes on until an answer or a branch on an argument.
func (m *machine) run(p program, arch, number uint32) (answer uint32, forks []machine, err error) {
	for {
		if m.pc < 0 || m.pc >= len(p) {
			return 0, nil, fmt.Errorf("the filter leaves itself at %d", m.pc)
		}
		in := p[m.pc]
		m.pc++
		switch in.code & 7 {
		case unix.BPF_LD:
			m.a, err = m.load(in, arch, number)
		case unix.BPF_LDX:
			m.x, err = m.load(in, arch, number)
		case unix.BPF_ST:
			m.memory[in.k&15] = m.a
		case unix.BPF_STX:
			m.memory[in.k&15] = m.x
		case unix.BPF_ALU:
			m.a = arithmetic(in, m.a, m.x)
		case unix.BPF_JMP:
			if in.code&0xf0 == unix.BPF_JA {
				m.pc += int(in.k)
				continue
			}
			if forks, err = m.branch(in); forks != nil || err != nil {
				return 0, forks, err
			}
		case unix.BPF_RET:
			if in.code&0x18 == unix.BPF_A {
				if !m.a.known {
					return 0, nil, fmt.Errorf("the filter answers with an argument at %d", m.pc-1)
				}
				return m.a.number, nil, nil
			}
			return in.k, nil, nil
		case unix.BPF_MISC:
			if in.code&0xf8 == unix.BPF_TXA {
				m.a = m.x
			} else {
				m.x = m.a
			}
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// load reads struct seccomp_data: number, architecture, instruction pointer,
// six arguments of eight bytes.
func (m *machine) load(in instruction, arch, number uint32) (value, error) {
	switch in.code & 0xe0 {
	case unix.BPF_IMM:
		return constant(in.k), nil
	case unix.BPF_MEM:
		return m.memory[in.k&15], nil
	case unix.BPF_LEN:
		return constant(64), nil
	case unix.BPF_ABS:
		switch {
		case in.k == 0:
			return constant(number), nil
		case in.k == 4:
			return constant(arch), nil
		case in.k < 16:
			return value{word: 12 + int(in.k-8)/4, mask: ^uint32(0)}, nil // instruction pointer
		case in.k < 64:
			return value{word: int(in.k-16) / 4, mask: ^uint32(0)}, nil
		}
	}
	return value{}, fmt.Errorf("the filter loads from %d", in.k)
}

func arithmetic(in instruction, a, x value) value {
	b := constant(in.k)
	if in.code&8 == unix.BPF_X {
		b = x
	}
	op := in.code & 0xf0
	if op == unix.BPF_AND && !a.known && a.word >= 0 && b.known {
		return value{word: a.word, mask: a.mask & b.number}
	}
	if op == unix.BPF_NEG && a.known {
		return constant(-a.number)
	}
	if !a.known || !b.known {
		return value{word: -1}
	}
	n := a.number
	switch op {
	case unix.BPF_ADD:
		n += b.number
	case unix.BPF_SUB:
		n -= b.number
	case unix.BPF_MUL:
		n *= b.number
	case unix.BPF_DIV:
		n /= max(b.number, 1) // by zero, the kernel ends the filter; none does it
	case unix.BPF_OR:
		n |= b.number
	case unix.BPF_AND:
		n &= b.number
	case unix.BPF_XOR:
		n ^= b.number
	case unix.BPF_LSH:
		n <<= b.number
	case unix.BPF_RSH:
		n >>= b.number
	}
	return constant(n)
}

// branch takes a conditional jump. When what is compared is an argument, both
// ways are taken that do not contradict what was found before.
func (m *machine) branch(in instruction) ([]machine, error) {
	b := constant(in.k)
	if in.code&8 == unix.BPF_X {
		b = m.x
	}
	op := in.code & 0xf0
	if m.a.known && b.known {
		taken := false
		switch op {
		case unix.BPF_JEQ:
			taken = m.a.number == b.number
		case unix.BPF_JGT:
			taken = m.a.number > b.number
		case unix.BPF_JGE:
			taken = m.a.number >= b.number
		case unix.BPF_JSET:
			taken = m.a.number&b.number != 0
		}
		if taken {
			m.pc += int(in.jt)
		} else {
			m.pc += int(in.jf)
		}
		return nil, nil
	}
	if !b.known || m.a.word < 0 {
		return nil, fmt.Errorf("the filter computes with arguments at %d in a way that is not followed", m.pc-1)
	}
	yes := test{word: m.a.word, mask: m.a.mask, value: b.number}
	no := yes
	switch op {
	case unix.BPF_JEQ:
		yes.compare, no.compare = "==", "!="
	case unix.BPF_JGT:
		yes.compare, no.compare = ">", "<="
	case unix.BPF_JGE:
		yes.compare, no.compare = ">=", "<"
	case unix.BPF_JSET:
		yes.mask &= b.number
		yes.value, yes.compare = 0, "!="
		no = yes
		no.compare = "=="
	}
	var forks []machine
	for _, way := range []struct {
		test test
		jump uint8
	}{{yes, in.jt}, {no, in.jf}} {
		tests, possible := and(m.tests, way.test)
		if !possible {
			continue
		}
		next := *m
		next.tests = tests
		next.pc += int(way.jump)
		forks = append(forks, next)
	}
	return forks, nil
}

// and adds a test to those that hold already. It says false when they cannot
// hold together, and drops what follows from the others.
func and(tests []test, t test) ([]test, bool) {
	if t.compare == "!=" && t.mask != 0 && t.mask&(t.mask-1) == 0 && (t.value == 0 || t.value == t.mask) {
		// One bit that is not so is the other way.
		t.compare, t.value = "==", t.mask^t.value
	}
	if t.compare == "==" && t.value&^t.mask != 0 || t.mask == 0 && t.compare == "!=" && t.value == 0 {
		return nil, false
	}
	if t.mask == 0 && t.compare == "==" || t.compare == "!=" && t.value&^t.mask != 0 {
		return tests, true
	}
	kept := make([]test, 0, len(tests)+1)
	for _, old := range tests {
		if old.word != t.word {
			kept = append(kept, old)
			continue
		}
		if old == t {
			return tests, true
		}
		if t.compare == "==" {
			switch holds(old, t) {
			case never:
				return nil, false
			case always:
				continue // the new one says more
			}
		} else if old.compare == "==" {
			switch holds(t, old) {
			case never:
				return nil, false
			case always:
				return tests, true
			}
		}
		kept = append(kept, old)
	}
	kept = append(kept, t)
	sort.SliceStable(kept, func(a, b int) bool { return kept[a].word < kept[b].word })
	return kept, true
}

type verdict int

const (
	maybe verdict = iota
	always
	never
)

// holds says whether t holds where the equality e does.
func holds(t, e test) verdict {
	if t.mask&^e.mask != 0 {
		// Not all bits that t looks at are known.
		if t.compare == "==" && (t.value^e.value)&t.mask&e.mask != 0 {
			return never
		}
		if t.compare == "!=" && (t.value^e.value)&t.mask&e.mask != 0 {
			return always
		}
		return maybe
	}
	v := e.value & t.mask
	var is bool
	switch t.compare {
	case "==":
		is = v == t.value
	case "!=":
		is = v != t.value
	case ">":
		is = v > t.value
	case ">=":
		is = v >= t.value
	case "<":
		is = v < t.value
	case "<=":
		is = v <= t.value
	}
	if is {
		return always
	}
	return never
}
