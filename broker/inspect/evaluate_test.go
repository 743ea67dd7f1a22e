package inspect

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/plan"
	"bulkhead/sandbox"
)

func compiled(t testing.TB, s plan.Syscalls) []byte {
	t.Helper()
	p := &plan.Plan{Components: []plan.Component{{Name: "test", Syscalls: s}}}
	if err := sandbox.CompileFilters(p); err != nil {
		t.Fatal(err)
	}
	return p.Components[0].Syscalls.Program
}

// Every kind of rule, read back in words.
func TestDescribeCalls(t *testing.T) {
	b := compiled(t, plan.Syscalls{Default: plan.Refuse, Rules: []plan.Rule{
		{Call: "read", Action: plan.Allow},
		{Call: "ptrace", Action: plan.Kill},
		{Call: "io_uring_setup", Action: plan.Errno, Errno: int32(unix.ENOSYS)},
		{Call: "lseek", Action: plan.Allow, Conditions: []plan.Condition{{Argument: 1, Comparison: plan.Equal, Value: 0x1_0000_0002}}},
		{Call: "ioctl", Action: plan.Allow, Conditions: []plan.Condition{{Argument: 1, Comparison: plan.MaskedEqual, Mask: 0xffffffff, Value: 0x5401}}},
		{Call: "clone", Action: plan.Allow, Conditions: []plan.Condition{{Argument: 0, Comparison: plan.MaskedEqual, Mask: 0x7e020000, Value: 0}}},
	}})
	c := describeCalls([]program{decodeProgram(b)})
	if c.Default != "notify" || c.Foreign != "kill" || c.X32 != "kill" {
		t.Errorf("default %s, i386 %s, x32 %s; want notify, kill, kill", c.Default, c.Foreign, c.X32)
	}
	for name, want := range map[string]string{
		"read":           "{read allow []}",
		"ptrace":         "{ptrace kill []}",
		"io_uring_setup": "{io_uring_setup errno ENOSYS []}",
		"lseek":          "{lseek  [{argument 1 == 0x100000002 allow} {otherwise notify}]}",
		"ioctl":          "{ioctl  [{argument 1 (32 bits) == 0x5401 allow} {otherwise notify}]}",
		"clone":          "{clone  [{argument 0 (32 bits) & 0x7e020000 == 0 allow} {otherwise notify}]}",
	} {
		k := slices.IndexFunc(c.Calls, func(r CallRule) bool { return r.Call == name })
		if k < 0 {
			t.Errorf("%s is not in the list", name)
		} else if got := fmt.Sprint(c.Calls[k]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if c.Allowed != 4 {
		t.Errorf("%d calls reach the kernel, want 4", c.Allowed)
	}
}

// unshare without the flags of namespaces makes none (systemd's
// RestrictNamespaces=); with one of them left it does.
func TestNoNamespaces(t *testing.T) {
	flags := []uint64{unix.CLONE_NEWCGROUP, unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWNS, unix.CLONE_NEWPID, unix.CLONE_NEWTIME, unix.CLONE_NEWUSER, unix.CLONE_NEWUTS}
	for left := -1; left < len(flags); left++ {
		s := plan.Syscalls{Default: plan.Allow}
		for k, flag := range flags {
			if k != left {
				s.Rules = append(s.Rules, plan.Rule{Call: "unshare", Action: plan.Errno, Errno: int32(unix.EPERM),
					Conditions: []plan.Condition{{Argument: 0, Comparison: plan.MaskedEqual, Mask: flag, Value: flag}}})
			}
		}
		c := describeCalls([]program{decodeProgram(compiled(t, s))})
		if c.noNamespaces != (left < 0) || !c.allowed("unshare") {
			t.Errorf("with flag %d left: %v, allowed %v", left, c.noNamespaces, c.allowed("unshare"))
		}
	}
}

// Two filters: the kernel takes the answer that allows least.
func TestDescribeTwoFilters(t *testing.T) {
	first := compiled(t, plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{{Call: "ptrace", Action: plan.Kill}, {Call: "mount", Action: plan.Refuse}}})
	second := compiled(t, plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{
		{Call: "mount", Action: plan.Errno, Errno: int32(unix.EPERM)},
		{Call: "ptrace", Action: plan.Errno, Errno: int32(unix.EPERM)},
		{Call: "socket", Action: plan.Refuse, Conditions: []plan.Condition{{Argument: 0, Comparison: plan.NotEqual, Value: 1}}},
	}})
	c := describeCalls([]program{decodeProgram(second), decodeProgram(first)})
	want := map[string]string{"ptrace": "kill", "mount": "errno EPERM"}
	for _, r := range c.Calls {
		if r.Action != "" && r.Action != want[r.Call] {
			t.Errorf("%s: %s, want %q", r.Call, r.Action, want[r.Call])
		}
		delete(want, r.Call)
	}
	if len(want) > 0 {
		t.Errorf("not in the list: %v", want)
	}
	if c.allowed("ptrace") || !c.allowed("socket") || !c.allowed("read") {
		t.Error("what is allowed is not what both filters allow")
	}
}

// The symbolic evaluation agrees with an interpreter of the program for any
// arguments: exactly one way fits them, and it has the program's answer.
func TestEvaluateAgreesWithAnInterpreter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := calls.Names()
	comparisons := []plan.Comparison{plan.Equal, plan.NotEqual, plan.Less, plan.LessOrEqual, plan.Greater, plan.GreaterOrEqual, plan.MaskedEqual}
	interesting := []uint64{0, 1, 2, 7, 0xff, 0x5401, 0x7fffffff, 0x80000000, 0xffffffff, 0x1_0000_0000, 0x1_0000_0001, 1 << 63, ^uint64(0)}
	pick := func() uint64 { return interesting[random.IntN(len(interesting))] }
	for range 40 {
		s := plan.Syscalls{Default: plan.Refuse}
		var used []int
		for range 12 {
			name := names[random.IntN(len(names))]
			number, _ := calls.Number(name)
			if slices.Contains(used, number) {
				continue
			}
			used = append(used, number)
			rule := plan.Rule{Call: name, Action: []plan.Action{plan.Allow, plan.Kill, plan.Errno}[random.IntN(3)], Errno: 38}
			for argument := range random.IntN(3) {
				c := plan.Condition{Argument: uint(argument), Comparison: comparisons[random.IntN(len(comparisons))], Value: pick()}
				if c.Comparison == plan.MaskedEqual {
					c.Mask = pick()
					c.Value &= c.Mask
				}
				rule.Conditions = append(rule.Conditions, c)
			}
			s.Rules = append(s.Rules, rule)
		}
		b := compiled(t, s)
		vm := interpreter(t, b)
		for _, number := range append(used, 0, calls.Last+5) {
			ways := combined([]program{decodeProgram(b)}, architecture, uint32(number))
			for range 200 {
				var arguments [6]uint64
				for k := range arguments {
					arguments[k] = pick()
				}
				want := vm(uint32(number), arguments)
				fits := 0
				for _, w := range ways {
					if fit(w.tests, arguments) {
						fits++
						if w.answer != want {
							t.Fatalf("call %d %#x: %#x by %q, the program says %#x", number, arguments, w.answer, conditionText(w.tests), want)
						}
					}
				}
				if fits != 1 {
					t.Fatalf("call %d %#x: %d ways fit, want 1", number, arguments, fits)
				}
			}
		}
	}
}

func fit(tests []test, arguments [6]uint64) bool {
	for _, t := range tests {
		word := uint32(arguments[t.word/2] >> (32 * (t.word % 2)))
		if holds(t, test{word: t.word, mask: ^uint32(0), value: word}) != always {
			return false
		}
	}
	return true
}

// interpreter runs a filter in x/net's virtual machine. That loads big-endian
// words, as packets have them, so the data is laid out so.
func interpreter(t *testing.T, b []byte) func(number uint32, arguments [6]uint64) uint32 {
	t.Helper()
	var instructions []bpf.Instruction
	for _, in := range decodeProgram(b) {
		instructions = append(instructions, bpf.RawInstruction{Op: in.code, Jt: in.jt, Jf: in.jf, K: in.k}.Disassemble())
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	return func(number uint32, arguments [6]uint64) uint32 {
		data := make([]byte, 64)
		binary.BigEndian.PutUint32(data, number)
		binary.BigEndian.PutUint32(data[4:], architecture)
		for k, a := range arguments {
			binary.BigEndian.PutUint32(data[16+8*k:], uint32(a))
			binary.BigEndian.PutUint32(data[20+8*k:], uint32(a>>32))
		}
		answer, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(answer)
	}
}

// A filter from anywhere may be anything: no panic, no endless work.
func FuzzEvaluate(f *testing.F) {
	f.Add(compiled(f, plan.Syscalls{Default: plan.Refuse, Rules: []plan.Rule{{Call: "read", Action: plan.Allow}}}))
	f.Add([]byte{0x20, 0, 0, 0, 0, 0, 0, 0, 0x06, 0, 0, 0, 0, 0, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := decodeProgram(b[:min(len(b), 8*64)])
		for _, number := range []uint32{0, 16, calls.Last} {
			ways, err := evaluate(p, architecture, number)
			if err == nil && len(ways) == 0 {
				t.Error("neither an answer nor an error")
			}
		}
	})
}
