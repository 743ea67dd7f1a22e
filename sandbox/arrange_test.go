package sandbox

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// decide runs a filter as the kernel would, on the words of a struct
// seccomp_data, and counts its steps: -1 where the kernel would not have taken
// the filter.
func decide(p []unix.SockFilter, data *[16]uint32) (action uint32, steps int) {
	var register uint32
	for pc := 0; pc < len(p); pc++ {
		steps++
		i := p[pc]
		switch i.Code {
		case loadWord:
			register = data[i.K/4]
		case maskWord:
			register &= i.K
		case jump:
			pc += int(i.K)
		case jumpEqual, jumpGreater, jumpNotLess:
			if i.Code == jumpEqual && register == i.K || i.Code == jumpGreater && register > i.K ||
				i.Code == jumpNotLess && register >= i.K {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		case returnAction:
			return i.K, steps
		default:
			return 0, -1
		}
	}
	return 0, -1
}

// compareFilters decides about every call that either filter could tell from
// others, with arguments at and beside everything that they compare with.
func compareFilters(t *testing.T, before, after []unix.SockFilter) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	constants := []uint32{0, 1, ^uint32(0)}
	for _, i := range before {
		constants = append(constants, i.K-1, i.K, i.K+1)
	}
	numbers := slices.Clone(constants)
	for n := range uint32(600) {
		numbers = append(numbers, n, n|0x40000000)
	}
	native := before[1].K
	for _, architecture := range []uint32{native, 0x40000003, 0, ^uint32(0), native + 1} {
		for _, number := range numbers {
			data := [16]uint32{number, architecture}
			rounds := 200
			if architecture != native || number > 600 {
				rounds = 3
			}
			for range rounds {
				for w := 2; w < len(data); w++ {
					data[w] = constants[random.IntN(len(constants))]
					if random.IntN(2) == 0 {
						data[w] = 0 // upper halves are zero mostly
					}
				}
				want, steps := decide(before, &data)
				if steps < 0 {
					t.Fatalf("the filter itself is malformed at %#x", data)
				}
				if got, steps := decide(after, &data); got != want || steps < 0 {
					t.Fatalf("%#x: rearranged %#x in %d steps, before %#x", data, got, steps, want)
				}
			}
		}
	}
}

func TestArrangeKeepsDecisions(t *testing.T) {
	for name, component := range map[string]string{
		"plain":    `{command: [/bin/true]}`,
		"parser":   `{extends: parser, command: [/bin/true]}`,
		"cli-tool": `{extends: cli-tool, command: [/bin/true]}`,
		"daemon":   `{extends: network-daemon, command: [/bin/true], grants: [http], transparent: true}`,
		"wide": `{command: [/bin/true], limits: {processes: 9}, syscalls: ["@ipc", "@terminal", "@network-io", ` +
			`"@file-system", setuid, {call: ioctl, argument: 1, equal: 0xae01}, {call: fcntl, argument: 2, mask: 0xf0, equal: 0x40}, ` +
			`{call: mbind, argument: 0, greater: 0x123456789a}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := policy.Parse(name, []byte("application: test\ngrants: {http: {listen: \"tcp:127.0.0.1:80\"}}\ncomponents: {it: "+component+"}\n"), policy.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := policy.Compile(loaded, policy.LocalHost())
			if err != nil {
				t.Fatal(err)
			}
			before, err := assemble(p.Components[0].Syscalls)
			if err != nil {
				t.Fatal(err)
			}
			after := arrange(before)
			compareFilters(t, before, after)
			t.Logf("%d instructions before, %d after", len(before), len(after))
			if 3*len(after) > 2*len(before) {
				t.Errorf("the rearranged filter has %d instructions, %d before", len(after), len(before))
			}
		})
	}
}

// TestArrangeFarJumps has so many blocks about arguments that no conditional
// jump reaches over them.
func TestArrangeFarJumps(t *testing.T) {
	s := plan.Syscalls{Default: plan.Errno}
	for i, call := range []string{
		"read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect", "munmap",
		"brk", "ioctl", "access", "pipe", "select", "mremap", "msync", "madvise", "dup", "pause", "getpid", "socket",
		"connect", "accept", "sendto", "bind", "listen", "clone", "fork", "execve", "kill", "fcntl", "flock", "fsync",
	} {
		for value := range 12 {
			s.Rules = append(s.Rules, plan.Rule{Call: call, Action: plan.Allow, Conditions: []plan.Condition{
				{Argument: uint(i % 6), Comparison: plan.Equal, Value: uint64(value*i) << (8 * (i % 3))},
				{Argument: uint((i + 1) % 6), Comparison: plan.GreaterOrEqual, Value: uint64(value) << 30},
			}})
		}
	}
	before, err := assemble(s)
	if err != nil {
		t.Fatal(err)
	}
	after := arrange(before)
	if len(before) < 1000 {
		t.Fatalf("a filter of %d instructions tests no far jumps", len(before))
	}
	compareFilters(t, before, after)
}

func TestArrangeLeavesOtherFormsAlone(t *testing.T) {
	// What asks for the call's number again behind an argument.
	p := []unix.SockFilter{
		load(offsetArchitecture), {Code: jumpEqual, Jf: 4, K: 0xc000003e},
		load(offsetPointer + 8), load(offsetNumber),
		{Code: jumpEqual, Jf: 1, K: 3}, {Code: returnAction, K: unix.SECCOMP_RET_ALLOW}, {Code: returnAction},
	}
	if got := arrange(p); !slices.Equal(got, p) {
		t.Errorf("it became %v", got)
	}
	if got := arrange(nil); len(got) != 0 {
		t.Errorf("nothing became %v", got)
	}
}
