package monitor

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// What was stored comes behind the sockets without a gap; what the plan has
// there counts among it.
func TestInheritStored(t *testing.T) {
	p := &plan.Plan{Grants: []plan.Grant{{Name: "http"}, {Name: "log"}}}
	c := &component{Component: &plan.Component{Start: plan.WithApplication}}
	if passed, environment := c.inherit(p); passed != nil || environment != nil {
		t.Errorf("nothing is stored, and %v %q are inherited", passed, environment)
	}
	c.stored = []stored{{"a", 100}, {"b", 101}, {"a", 102}}
	c.Grants = []plan.Binding{{Grant: 0, Number: 3}, {Grant: 1, Number: 5}, {Grant: 1, Number: -1}}
	c.Life.Ready = plan.Ready{Kind: plan.ReadyFD, Number: 8}
	passed, environment := c.inherit(p)
	if got := strings.Join(environment, " "); got != "LISTEN_FDS=6 LISTEN_FDNAMES=http:a:log:b:a:ready LISTEN_PID=2" {
		t.Errorf("environment %q", got)
	}
	for i, want := range []int{4, 6, 7} {
		if passed[i].Number != want || passed[i].FD != 100+i {
			t.Errorf("descriptor %d is %+v", i, passed[i])
		}
	}
	c.stored = []stored{{strings.Repeat("x", 255), 100}}
	for range maximumStored - 1 {
		c.stored = append(c.stored, c.stored[0])
	}
	if passed, environment := c.inherit(p); len(passed) >= maximumInherited || len(environment[1]) > 3000 {
		t.Errorf("%d descriptors in %d bytes", len(passed), len(environment[1]))
	}
	c.Start = plan.PerRequest
	if passed, _ := c.inherit(p); len(passed) > 0 {
		t.Error("a worker of a request inherits what others stored")
	}
}

// What is stored already is not stored again: not a copy of it, and not under
// another name.
func TestStoreOnce(t *testing.T) {
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	again, err := unix.FcntlInt(uintptr(pipe[0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]int{pipe[0], pipe[1], again})
	c := &component{}
	if c.holds(pipe[0]) {
		t.Error("nothing is stored, and a descriptor is found")
	}
	c.stored = []stored{{"a", pipe[0]}}
	if !c.holds(again) {
		t.Error("a copy of what is stored is not found")
	}
	if c.holds(pipe[1]) {
		t.Error("the other end of a pipe is taken for the one that is stored")
	}
}

func TestStoreName(t *testing.T) {
	for wish, want := range map[string]string{"": "stored", "a b": "stored", "a:b": "stored", "ä": "stored", "a\x00": "stored", "db-1": "db-1", strings.Repeat("n", 256): "stored"} {
		if got := storeName(wish); got != want {
			t.Errorf("%q is stored as %q", wish, got)
		}
	}
}
