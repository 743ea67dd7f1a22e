package compartment

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/worker"
)

// A worker that was prepared ahead has every wall before it has its orders, and
// follows them then.
func TestFilterStandsBeforeOrders(t *testing.T) {
	b := newBuilt(t, nil)
	w := b.prepare()
	defer w.end()
	last := ""
	for begun := time.Now(); !strings.Contains(last, "\nSeccomp:\t2\n"); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("it waits without its filter:\n%s", last)
		}
		last = w.program()
	}
	if output, said := w.run("echo $GIVEN; readlink /proc/self/fd/7"); output != "yes\n/dev/null\n" || said.Kind != worker.Ended || said.Status != 0 {
		t.Errorf("it writes %q and ends as %+v", output, said)
	}
}

// program is the status of the process that a worker's program will be, "" when
// it is not there yet (proc(5)).
func (w *waiting) program() string {
	w.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", w.init))
	if err != nil {
		w.Fatal(err)
	}
	_, pid, _ := strings.Cut(string(info), "Pid:\t")
	pid, _, _ = strings.Cut(pid, "\n")
	children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	status, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(children)) + "/status")
	return string(status)
}

// A filter that forbids what following the orders takes is loaded behind them.
func TestFilterThatForbidsOrders(t *testing.T) {
	for _, call := range callsOfOrders {
		if call.name == "execve" {
			continue // nothing runs without
		}
		t.Run(call.name, func(t *testing.T) {
			b := newBuilt(t, func(c *plan.Component) {
				c.Syscalls.Rules = []plan.Rule{{Call: call.name, Action: plan.Errno, Errno: int32(unix.ENOLINK)}}
			})
			if _, said := b.run(":"); said.Kind != worker.Ended {
				t.Errorf("its program does not run: %+v", said)
			}
		})
	}
}

func TestFiltersEarly(t *testing.T) {
	all := func(change ...plan.Rule) plan.Syscalls {
		s := plan.Syscalls{Default: plan.Refuse, Rules: change}
		for _, call := range callsOfOrders {
			if len(change) == 0 || change[0].Call != call.name {
				s.Rules = append(s.Rules, plan.Rule{Call: call.name, Action: plan.Allow})
			}
		}
		return s
	}
	when := func(call string, action plan.Action, c plan.Condition) plan.Rule {
		return plan.Rule{Call: call, Action: action, Conditions: []plan.Condition{c}}
	}
	for _, test := range []struct {
		what     string
		syscalls plan.Syscalls
		want     bool
	}{
		{"all allowed", all(), true},
		{"all by default", plan.Syscalls{Default: plan.Allow}, true},
		{"one is not named", all(plan.Rule{Call: "dup2", Action: plan.Refuse}), false},
		{"one is the monitor's", all(plan.Rule{Call: "close", Action: plan.Broker}), false},
		{"limits of its own", all(when("prlimit64", plan.Allow, plan.Condition{Argument: 0, Comparison: plan.Equal, Value: 0})), true},
		{"limits of another", all(when("prlimit64", plan.Allow, plan.Condition{Argument: 0, Comparison: plan.NotEqual, Value: 0})), false},
		{"an argument that nobody knows", all(when("close", plan.Allow, plan.Condition{Argument: 0, Comparison: plan.Less, Value: 10})), false},
		{"refused for an argument that nobody knows", all(plan.Rule{Call: "close", Action: plan.Allow},
			when("close", plan.Refuse, plan.Condition{Argument: 0, Comparison: plan.Less, Value: 10})), false},
		{"another fcntl is the monitor's", all(plan.Rule{Call: "fcntl", Action: plan.Allow},
			when("fcntl", plan.Broker, plan.Condition{Argument: 1, Comparison: plan.MaskedEqual, Value: unix.F_SETFL, Mask: 1<<32 - 1})), true},
		{"this fcntl is the monitor's", all(plan.Rule{Call: "fcntl", Action: plan.Allow},
			when("fcntl", plan.Broker, plan.Condition{Argument: 1, Comparison: plan.GreaterOrEqual, Value: 1024})), false},
	} {
		if filtersEarly(test.syscalls) != test.want {
			t.Errorf("%s: it is not %t", test.what, test.want)
		}
	}
}

// Ordinary components are filtered early: nothing that a policy has unasked stands
// in the way.
func TestFiltersOfPoliciesEarly(t *testing.T) {
	for name, component := range map[string]string{
		"plain":       `{command: [/bin/true], grants: [http]}`,
		"parser":      `{extends: parser, command: [/bin/true], grants: [http]}`,
		"daemon":      `{extends: network-daemon, command: [/bin/true], grants: [http]}`,
		"append":      `{command: [/bin/true], grants: [http, log]}`,
		"transparent": `{command: [/bin/true], grants: [http, log], transparent: true}`,
	} {
		loaded, err := policy.Parse(name, []byte("application: test\ngrants: {http: {listen: \"tcp:127.0.0.1:80\"}, log: {file: /etc/hostname, access: append}}\n"+
			"components: {it: "+component+"}\n"), policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := policy.Compile(loaded, policy.LocalHost())
		if err != nil {
			t.Fatal(err)
		}
		if !filtersEarly(p.Components[0].Syscalls) {
			t.Errorf("%s: its filter is loaded late", name)
		}
	}
}
