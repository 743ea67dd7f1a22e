package supervisor

import (
	"reflect"
	"testing"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/memfd"
)

// A plan is mostly walls, which the supervisor has no use for: what it keeps of
// a component does not grow with them, and nothing else is lost.
func TestReadPlanForgetsWalls(t *testing.T) {
	c := plan.Component{
		Name: "web", Program: "/bin/web", Start: plan.PerRequest, Log: "/var/log/web", HostNetwork: true,
		Grants: []plan.Binding{{Grant: 0}}, Life: plan.Life{After: []string{"db"}},
	}
	lean := plan.Plan{Application: "x", Grants: []plan.Grant{{Name: "http"}}, Components: []plan.Component{c, c}}
	walled := lean
	walled.Components = nil
	for range 2 {
		full := c
		full.Root = []plan.Entry{{Kind: plan.EntryBind, Source: "/usr/lib", Target: "/usr/lib", Dir: true}}
		full.Syscalls = plan.Syscalls{Default: plan.Refuse, Rules: []plan.Rule{{Call: "read", Action: plan.Allow}}, Program: []byte{1}}
		full.Environment, full.Arguments = []string{"SECRET=1"}, []string{"web"}
		walled.Components = append(walled.Components, full)
	}
	b, err := plan.Encode(&walled)
	if err != nil {
		t.Fatal(err)
	}
	file, err := memfd.Sealed("plan", b)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := plan.Load(int(file.Fd()), forgetWalls)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, &lean) {
		t.Errorf("read %+v\nwant %+v", got, lean)
	}
}
