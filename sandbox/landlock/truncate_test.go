package landlock

import (
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// What is not sure to be refused by the filter is Landlock's to refuse.
func TestTruncatesWritten(t *testing.T) {
	allow := func(call string, conditions ...plan.Condition) plan.Rule {
		return plan.Rule{Call: call, Action: plan.Allow, Conditions: conditions}
	}
	flags := func(argument uint, value, mask uint64) plan.Condition {
		return plan.Condition{Argument: argument, Comparison: plan.MaskedEqual, Value: value, Mask: mask}
	}
	const truncate, access = unix.O_TRUNC, unix.O_ACCMODE
	for _, test := range []struct {
		what  string
		rules []plan.Rule
		want  bool
	}{
		{"no files at all", nil, true},
		{"what writes", []plan.Rule{allow("ftruncate"), allow("creat")}, true},
		{"by path", []plan.Rule{allow("truncate")}, false},
		{"by path, sometimes", []plan.Rule{allow("truncate", flags(1, 0, 1))}, false},
		{"by path, by the monitor", []plan.Rule{{Call: "truncate", Action: plan.Broker}}, false},
		{"by path, in vain", []plan.Rule{{Call: "truncate", Action: plan.Errno, Errno: 38}, {Call: "openat2", Action: plan.Refuse}}, true},
		{"flags in memory", []plan.Rule{allow("openat2")}, false},
		{"by a handle", []plan.Rule{allow("open_by_handle_at")}, false},
		{"open", []plan.Rule{allow("open")}, false},
		{"openat by the monitor", []plan.Rule{{Call: "openat", Action: plan.Broker}}, false},
		{"openat by the monitor, sometimes", []plan.Rule{{Call: "openat", Action: plan.Broker, Conditions: []plan.Condition{flags(2, 0, truncate)}}}, false},
		{"never truncating", []plan.Rule{allow("open", flags(1, 0, truncate)), allow("openat", flags(2, 0, truncate))}, true},
		{"truncating what is written", []plan.Rule{allow("open", flags(1, truncate|unix.O_WRONLY, truncate|access)), allow("open", flags(1, truncate|unix.O_RDWR, truncate|access))}, true},
		{"truncating in access mode 3", []plan.Rule{allow("open", flags(1, truncate|unix.O_WRONLY, truncate|unix.O_WRONLY))}, false},
		{"never reading", []plan.Rule{allow("open", flags(1, unix.O_WRONLY, access))}, true},
		{"one rule of two", []plan.Rule{allow("open", flags(1, 0, truncate)), allow("open", flags(1, 0, access))}, false},
		{"another argument", []plan.Rule{allow("openat", flags(1, 0, truncate))}, false},
		{"another comparison", []plan.Rule{allow("openat", plan.Condition{Argument: 2, Comparison: plan.NotEqual, Value: truncate})}, false},
		{"one more condition", []plan.Rule{allow("openat", flags(0, 0, 1), flags(2, 0, truncate))}, true},
	} {
		c := &plan.Component{Syscalls: plan.Syscalls{Default: plan.Refuse, Rules: test.rules}}
		if got := New(6, c).Files&unix.LANDLOCK_ACCESS_FS_TRUNCATE == 0; got != test.want {
			t.Errorf("%s: left to the filter: %t", test.what, got)
		}
	}
	if c := (&plan.Component{Syscalls: plan.Syscalls{Default: plan.Allow}}); New(6, c).Files&unix.LANDLOCK_ACCESS_FS_TRUNCATE == 0 {
		t.Error("all allowed: left to the filter")
	}
}
