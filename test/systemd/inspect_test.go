package systemd_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bulkhead/broker/inspect"
)

// TestInspectKnownWalls: inspect shows of a unit's process the walls that the
// unit asks for, those and no others, and agrees with systemd-analyze security.
func TestInspectKnownWalls(t *testing.T) {
	b := read(t, "testdata/known.service")
	write(t, "/etc/systemd/system/known.service", b)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "start", "known")
	defer run(t, "systemctl", "stop", "known")
	var report struct{ Process inspect.Process }
	if err := json.Unmarshal([]byte(run(t, "sandbox", "inspect", "--json", property(t, "known", "MainPID"))), &report); err != nil {
		t.Fatal(err)
	}
	p := &report.Process

	walls := map[string]bool{}
	for _, w := range p.Walls {
		if w.Up {
			walls[w.Name] = true
		}
	}
	expected := []string{"mnt namespace", "capabilities", "no-new-privileges", "system calls", "memory limit", "process limit"}
	for _, name := range expected {
		if !walls[name] {
			t.Errorf("the wall %q is not shown", name)
		}
		delete(walls, name)
	}
	if len(walls) > 0 {
		t.Errorf("walls are shown that nobody built: %v", walls)
	}
	c := p.Capabilities
	if n := len(c.Permitted) + len(c.Effective) + len(c.Inheritable) + len(c.Bounding) + len(c.Ambient); n != 0 {
		t.Errorf("capabilities are shown: %+v", c)
	}
	if p.Cgroup.Path != "/system.slice/known.service" || p.Cgroup.Memory.Limit != 64<<20 {
		t.Errorf("its cgroup is %+v", p.Cgroup)
	}
	mounts := map[string]inspect.Mount{}
	for _, m := range p.Mounts {
		mounts[m.Point] = m
	}
	// systemd.exec(5) on ProtectSystem=strict and PrivateTmp=.
	for point, writable := range map[string]bool{"/": false, "/run": false, "/home": true, "/root": true, "/tmp": true, "/var/tmp": true, "/dev": true, "/proc": true, "/sys": true} {
		if m, ok := mounts[point]; !ok || m.Writes != writable {
			t.Errorf("%s is mounted %v, writable %v", point, ok, m.Writes)
		}
	}
	if !strings.Contains(mounts["/tmp"].Root, "known.service") {
		t.Errorf("/tmp is %+v", mounts["/tmp"])
	}

	calls := map[string][]string{}
	for _, call := range p.Seccomp.Calls.Calls {
		calls[call.Call] = append(calls[call.Call], call.Action)
	}
	for name, action := range map[string]string{"read": "allow", "execve": "allow", "socket": "allow", "clone3": "errno ENOSYS", "setns": "errno EPERM"} {
		if !slices.Equal(calls[name], []string{action}) {
			t.Errorf("%s: %v, want %s", name, calls[name], action)
		}
	}
	for _, name := range []string{"reboot", "mount", "init_module", "bpf", "ptrace", "kexec_load", "clock_settime", "iopl", "swapon"} { // none in @system-service
		if action, listed := calls[name]; listed && !slices.Equal(action, []string{p.Seccomp.Calls.Default}) {
			t.Errorf("%s: %v", name, action)
		}
	}
	if p.Seccomp.Calls.Default != "kill" { // SystemCallErrorNumber= is not set
		t.Errorf("what is not allowed: %s", p.Seccomp.Calls.Default)
	}

	for _, r := range p.Exposure.Reasons {
		if strings.Contains(r.Found, "unshare") { // RestrictNamespaces=
			t.Errorf("exposed: %+v", r)
		}
	}

	// What systemd itself says of the unit, where both speak of the same thing.
	for setting, shown := range analyzed(t, "known.service") {
		var ours bool
		switch {
		case setting == "NoNewPrivileges":
			ours = p.NoNewPrivileges
		case strings.HasPrefix(setting, "CapabilityBoundingSet_"):
			ours = len(c.Bounding) == 0
		case setting == "PrivateNetwork":
			ours = !hosts(p, "net")
		case setting == "PrivateUsers":
			ours = !hosts(p, "user")
		case setting == "PrivateTmp":
			ours = mounts["/tmp"].Root != ""
		case setting == "ProtectHome":
			ours = !mounts["/home"].Writes
		case setting == "SystemCallFilter_reboot", setting == "SystemCallFilter_mount", setting == "SystemCallFilter_module",
			setting == "SystemCallFilter_swap", setting == "SystemCallFilter_clock", setting == "SystemCallFilter_raw-io":
			ours = true // above
		default:
			continue
		}
		if ours != shown {
			t.Errorf("%s: systemd-analyze security says %v, inspect %v", setting, shown, ours)
		}
	}
}

// analyzed is what systemd-analyze security says of a unit: which settings
// stand as it wants them.
func analyzed(t *testing.T, unit string) map[string]bool {
	t.Helper()
	text, _ := try("systemd-analyze", "security", "--json=short", "--no-pager", unit)
	var rows []struct {
		Set   *bool  `json:"set"`
		Field string `json:"json_field"`
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("systemd-analyze says %.200s: %v", text, err)
	}
	all := map[string]bool{}
	for _, r := range rows {
		if r.Set != nil {
			all[r.Field] = *r.Set
		}
	}
	for _, want := range []string{"NoNewPrivileges", "PrivateTmp", "PrivateNetwork", "SystemCallFilter_reboot"} {
		if _, ok := all[want]; !ok {
			t.Errorf("systemd-analyze says nothing of %s: %.300s", want, text)
		}
	}
	return all
}

func hosts(p *inspect.Process, kind string) bool {
	return slices.ContainsFunc(p.Namespaces, func(n inspect.Namespace) bool { return n.Kind == kind && n.Host })
}
