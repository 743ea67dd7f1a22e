package inspect

import (
	"fmt"
	"sort"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
)

// Calls is what all filters of a process together do with each system call.
type Calls struct {
	Known   int        `json:"known"`   // calls that this build knows by name
	Allowed int        `json:"allowed"` // of them, also those allowed for some arguments only
	Default string     `json:"default"` // what happens to calls that no kernel has yet
	Foreign string     `json:"i386"`    // to calls of 32-bit programs
	X32     string     `json:"x32"`
	Calls   []CallRule `json:"calls"` // those that do not get Default

	noNamespaces bool // of unshare: it may reach the kernel, but makes none
}

// CallRule is what happens to one call.
type CallRule struct {
	Call   string     `json:"call"`
	Action string     `json:"action,omitempty"` // allow, notify, log, trace, trap, kill, kill-thread, errno NAME
	When   []CallCase `json:"when,omitempty"`   // instead of Action, where arguments decide
}

// CallCase is what happens when an argument condition holds.
type CallCase struct {
	Condition string `json:"condition"` // "argument 0 == 16 and argument 1 & 0xff != 3"
	Action    string `json:"action"`
}

// describeCalls evaluates all filters for every call. The kernel runs all of
// them and takes the answer that allows least (seccomp(2)).
func describeCalls(programs []program) *Calls {
	d := &Calls{
		Default: unconditional(combined(programs, architecture, calls.Last+1000)),
		Foreign: unconditional(combined(programs, architectureI386, 1)),
		X32:     unconditional(combined(programs, architecture, x32Bit|1)),
		Calls:   []CallRule{},
	}
	for number := range calls.Last + 1 {
		name := calls.Name(number)
		if name == "" {
			continue
		}
		d.Known++
		ways := combined(programs, architecture, uint32(number))
		rule := newCallRule(name, ways)
		if number == unix.SYS_UNSHARE {
			d.noNamespaces = noNamespaces(ways)
		}
		if rule.allows() {
			d.Allowed++
		}
		if rule.Action != d.Default {
			d.Calls = append(d.Calls, rule)
		}
	}
	return d
}

// noNamespaces says whether a call whose first argument has the flags of clone(2)
// makes no namespace, whatever the flags are.
func noNamespaces(ways []way) bool {
	for _, w := range ways {
		if !allowing(actionName(w.answer)) {
			continue
		}
		var without uint32
		for _, t := range w.tests {
			if t.word == 0 && t.compare == "==" && t.value == 0 {
				without |= t.mask
			}
		}
		if without&namespaceFlags != namespaceFlags {
			return false
		}
	}
	return true
}

const namespaceFlags = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
	unix.CLONE_NEWTIME | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

func newCallRule(name string, ways []way) CallRule {
	rule := CallRule{Call: name, Action: unconditional(ways)}
	if rule.Action != "" {
		return rule
	}
	// The ways exclude each other and leave nothing out, so those with the
	// action of the fall-back need no condition; what is allowed comes first.
	last := actionName(ways[len(ways)-1].answer)
	for _, other := range ways {
		if name := actionName(other.answer); !allowing(name) {
			last = name
		}
	}
	for _, w := range ways {
		if name := actionName(w.answer); name != last {
			rule.When = append(rule.When, CallCase{conditionText(w.tests), name})
		}
	}
	sort.SliceStable(rule.When, func(a, b int) bool {
		return allowing(rule.When[a].Action) && !allowing(rule.When[b].Action)
	})
	rule.When = append(rule.When, CallCase{"otherwise", last})
	return rule
}

// allows says whether the call reaches the kernel for some arguments.
func (r *CallRule) allows() bool {
	if allowing(r.Action) {
		return true
	}
	for _, c := range r.When {
		if allowing(c.Action) {
			return true
		}
	}
	return false
}

func allowing(action string) bool { return action == "allow" || action == "log" }

// unconditional is the action when all ways lead to the same one.
func unconditional(ways []way) string {
	for _, way := range ways[1:] {
		if way.answer != ways[0].answer {
			return ""
		}
	}
	return actionName(ways[0].answer)
}

// combined merges the ways through all filters. A filter that cannot be
// followed counts as one that allows: the audit errs to the bad side.
func combined(programs []program, arch, number uint32) []way {
	all := []way{{answer: unix.SECCOMP_RET_ALLOW}}
	for _, p := range programs {
		ways, err := evaluate(p, arch, number)
		if err != nil {
			ways = []way{{answer: unix.SECCOMP_RET_ALLOW}}
		}
		if len(all) == 1 && len(all[0].tests) == 0 && all[0].answer == unix.SECCOMP_RET_ALLOW {
			all = ways
			continue
		}
		var merged []way
		for _, a := range all {
			for _, b := range ways {
				if tests, possible := both(a.tests, b.tests); possible && len(merged) < maximumPaths {
					merged = append(merged, way{tests, stricter(a.answer, b.answer)})
				}
			}
		}
		all = merged
	}
	return simplify(all)
}

func both(a, b []test) ([]test, bool) {
	all, possible := a, true
	for _, t := range b {
		if all, possible = and(all, t); !possible {
			return nil, false
		}
	}
	return all, true
}

// simplify joins two ways that differ in one test and its opposite only.
func simplify(ways []way) []way {
	for again := true; again; {
		again = false
	search:
		for a := range ways {
			for b := a + 1; b < len(ways); b++ {
				if tests, ok := joined(ways[a], ways[b]); ok {
					ways = append(append(append([]way(nil), ways[:a]...), way{tests, ways[a].answer}), append(append([]way(nil), ways[a+1:b]...), ways[b+1:]...)...)
					again = true
					break search
				}
			}
		}
	}
	return ways
}

func joined(a, b way) ([]test, bool) {
	if a.answer != b.answer || len(a.tests) != len(b.tests) {
		return nil, false
	}
	differ := -1
	for k := range a.tests {
		if a.tests[k] == b.tests[k] {
			continue
		}
		if differ >= 0 || !opposite(a.tests[k], b.tests[k]) {
			return nil, false
		}
		differ = k
	}
	if differ < 0 {
		return a.tests, true
	}
	return append(append([]test(nil), a.tests[:differ]...), a.tests[differ+1:]...), true
}

func opposite(a, b test) bool {
	if a.word != b.word || a.mask != b.mask {
		return false
	}
	if a.compare == "==" && b.compare == "==" {
		return a.mask&(a.mask-1) == 0 && a.value != b.value // one bit
	}
	return a.value == b.value && opposites[a.compare] == b.compare
}

var opposites = map[string]string{"==": "!=", "!=": "==", ">": "<=", "<=": ">", ">=": "<", "<": ">="}

// strictness orders actions as the kernel does: the smallest wins.
func strictness(answer uint32) int32 { return int32(answer & 0xffff0000) }

func stricter(a, b uint32) uint32 {
	if strictness(b) < strictness(a) {
		return b
	}
	return a
}

func actionName(answer uint32) string {
	switch answer & 0xffff0000 {
	case unix.SECCOMP_RET_ALLOW:
		return "allow"
	case unix.SECCOMP_RET_LOG:
		return "log"
	case unix.SECCOMP_RET_USER_NOTIF:
		return "notify"
	case unix.SECCOMP_RET_TRACE:
		return "trace"
	case unix.SECCOMP_RET_TRAP:
		return "trap"
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "kill"
	case unix.SECCOMP_RET_KILL_THREAD:
		return "kill-thread"
	case unix.SECCOMP_RET_ERRNO:
		errno := unix.ErrnoName(syscall.Errno(answer & 0xffff))
		if errno == "" {
			errno = fmt.Sprint(answer & 0xffff)
		}
		return "errno " + errno
	}
	return fmt.Sprintf("%#x", answer)
}

// conditionText writes the tests of a way. A 64-bit argument is tested in
// halves; where that says something about the whole, the whole is written.
func conditionText(tests []test) string {
	var parts []string
	for k := 0; k < len(tests); k++ {
		low := tests[k]
		if k+1 < len(tests) && low.word%2 == 0 && low.word < 12 {
			high := tests[k+1]
			alone := k+2 >= len(tests) || tests[k+2].word != high.word
			if high.word == low.word+1 && alone && high.compare == "==" && low.compare == "==" {
				parts = append(parts, fullTest(low.word/2, uint64(high.mask)<<32|uint64(low.mask), "==", uint64(high.value)<<32|uint64(low.value)))
				k++
				continue
			}
		}
		parts = append(parts, low.text())
	}
	return strings.Join(parts, " and ")
}

func fullTest(argument int, mask uint64, compare string, value uint64) string {
	if mask == ^uint64(0) {
		return fmt.Sprintf("argument %d %s %s", argument, compare, numeral(value))
	}
	return fmt.Sprintf("argument %d & %#x %s %s", argument, mask, compare, numeral(value))
}

func (t test) text() string {
	var name string
	switch {
	case t.word >= 12:
		name = "the caller's address"
	case t.word%2 == 1:
		name = fmt.Sprintf("argument %d's upper half", t.word/2)
	default:
		name = fmt.Sprintf("argument %d (32 bits)", t.word/2)
	}
	if t.mask != ^uint32(0) {
		name += fmt.Sprintf(" & %#x", t.mask)
	}
	return fmt.Sprintf("%s %s %s", name, t.compare, numeral(uint64(t.value)))
}

// numeral writes small numbers as people count and others as bits.
func numeral(n uint64) string {
	if n < 256 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%#x", n)
}
