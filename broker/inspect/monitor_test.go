package inspect

import (
	"testing"

	"bulkhead/policy/plan"
)

// A monitor that lacks a wall of its own is drift, one that has them is none.
func TestMonitorDrift(t *testing.T) {
	walled := Process{
		Role: "monitor", Identity: Identity{UIDs: [4]uint32{}}, NoNewPrivileges: true,
		Seccomp: Seccomp{Mode: "filter", Loaded: 1}, Dumpable: "unknown",
	}
	for subject, take := range map[string]func(*Process){
		"":                       func(*Process) {},
		"permitted capabilities": func(p *Process) { p.Capabilities.Permitted = []string{"CAP_SYS_ADMIN"} },
		"bounding capabilities":  func(p *Process) { p.Capabilities.Bounding = []string{"CAP_SYS_ADMIN"} },
		"no-new-privileges":      func(p *Process) { p.NoNewPrivileges = false },
		"system call filter":     func(p *Process) { p.Seccomp = Seccomp{Mode: "off"} },
		"limit of core file size": func(p *Process) {
			p.Rlimits = []Rlimit{{Name: "core file size", Soft: 0, Hard: Unlimited}}
		},
		"dumpable": func(p *Process) { p.Dumpable = "yes" },
	} {
		p := walled
		take(&p)
		c := &Component{Name: "monitor", Workers: []Worker{{Processes: []Process{p}}}}
		found := new(Inspector).monitorDrift(&Application{plan: &plan.Plan{}}, c)
		switch {
		case subject == "" && len(found) > 0:
			t.Errorf("drift of a monitor with all walls: %v", found)
		case subject != "" && (len(found) != 1 || found[0].Subject != subject):
			t.Errorf("without %s the drift is %v", subject, found)
		}
	}
}
