package compartment

import (
	"os"
	"path/filepath"
	"testing"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// A weight of disk access that this kernel cannot give is no start, unless the
// policy calls the wall optional.
func TestWeighable(t *testing.T) {
	with, without := t.TempDir(), t.TempDir()
	for _, base := range []string{with, without} {
		if err := os.MkdirAll(filepath.Join(base, "group"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(with, "group", "io.weight"), []byte("default 100\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	at := plan.Position{File: "p.yaml", Line: 3, Column: 7}
	for _, c := range []struct {
		unified  string
		weight   uint32
		optional []string
		want     string
	}{
		{with, 50, nil, ""},
		{without, 0, nil, ""},
		{without, 50, []string{"io"}, ""},
		{"", 50, []string{"cgroup"}, ""},
		{"", 50, nil, `p.yaml:3:7: component "web": limits.io-weight needs cgroup v2; run it where the kernel has it, or write optional: [io]`},
		{without, 50, []string{"memory"}, `p.yaml:3:7: component "web": limits.io-weight needs a kernel that weighs disk access, and ` + without +
			`/group has no io.weight (CONFIG_BLK_CGROUP_IOCOST); run it where the kernel has it, or write optional: [io]`},
	} {
		got := ""
		component := &plan.Component{Name: "web", Position: at, Optional: c.optional, Limits: plan.Limits{IOWeight: c.weight}}
		if err := weighable(cgroup.Hierarchy{Unified: c.unified}, "group", component); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("on %q, with %d, optional %q: %q, want %q", c.unified, c.weight, c.optional, got, c.want)
		}
	}
}
