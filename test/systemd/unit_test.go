package systemd_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	shipFile  = "/root/testdata/ship.yaml"
	shipUnit  = "sandbox-ship.service"
	shipGroup = "/sys/fs/cgroup/system.slice/" + shipUnit
)

// pids are those of a component's workers.
func pids(t *testing.T, component string) []int {
	t.Helper()
	var s struct {
		Components []struct {
			Name    string
			Workers []struct{ PID int }
		}
	}
	if err := json.Unmarshal([]byte(run(t, "sandbox", "status", "--json", "ship")), &s); err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, c := range s.Components {
		if c.Name == component {
			for _, w := range c.Workers {
				all = append(all, w.PID)
			}
		}
	}
	return all
}

// journal is the unit's.
func journal(t *testing.T) string {
	t.Helper()
	return run(t, "journalctl", "--no-pager", "-u", shipUnit, "-o", "cat")
}

// members are all processes of the unit, in all of its cgroups.
func members(t *testing.T) []string {
	t.Helper()
	var all []string
	filepath.WalkDir(shipGroup, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			b, _ := os.ReadFile(path)
			all = append(all, strings.Fields(string(b))...)
		}
		return nil
	})
	return all
}

// left says what is left of the application.
func left() string {
	var all []string
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), "/run/sandbox/ship") {
		all = append(all, "a mount beneath /run/sandbox/ship")
	}
	if _, err := os.Stat(shipGroup); err == nil {
		all = append(all, "the cgroup "+shipGroup)
	}
	if entries, _ := os.ReadDir("/run/sandbox/ship"); len(entries) > 0 {
		all = append(all, "/run/sandbox/ship/"+entries[0].Name())
	}
	return strings.Join(all, ", ")
}

// TestUnit: what sandbox install writes starts, is active when the application
// is up, reloads, restarts, and stops; systemd restarts what dies or hangs; and
// nothing is left of any of it.
func TestUnit(t *testing.T) {
	run(t, "sandbox", "install", shipFile)
	drop := "/etc/systemd/system/" + shipUnit + ".d"
	if err := os.MkdirAll(drop, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(drop, "watchdog.conf"), "[Service]\nWatchdogSec=20s\n")
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "start", shipUnit)
	expectActive(t)

	text := run(t, "systemctl", "status", "--no-pager", shipUnit)
	for _, want := range []string{"active (running)", "application ship is up", "ship in compartments"} {
		if !strings.Contains(text, want) {
			t.Errorf("systemctl status has no %q:\n%s", want, text)
		}
	}
	if delegated := property(t, shipUnit, "Delegate"); delegated != "yes" {
		t.Errorf("Delegate is %q", delegated)
	}
	all := members(t)
	for _, component := range []string{"slow", "web"} {
		found := pids(t, component)
		if len(found) != 1 {
			t.Fatalf("%s has the workers %v", component, found)
		}
		if !slices.Contains(all, strconv.Itoa(found[0])) {
			t.Errorf("%s's worker is not below %s", component, shipGroup)
		}
	}
	until(t, "the unit's journal has web's line", func() bool { return strings.Contains(journal(t), "| web is here") })
	text = run(t, "sandbox", "inspect", "--verify", "ship") // status 1 where plan and kernel differ
	if !strings.Contains(text, "ship: the kernel has what the policy asks for") {
		t.Errorf("inspect --verify says\n%s", text)
	}
	text = run(t, "sandbox", "inspect", "--json", strconv.Itoa(pids(t, "web")[0]))
	if !strings.Contains(text, `"of": "ship/web/w`) || !strings.Contains(text, `"role": "program"`) {
		t.Errorf("inspect of a worker by its pid says\n%.1500s", text)
	}

	t.Run("reload", testReload)
	t.Run("restart", testRestart)
	t.Run("crash", testCrash)
	t.Run("watchdog", testWatchdog)
	run(t, "systemctl", "stop", shipUnit)
	if state := property(t, shipUnit, "ActiveState") + " " + property(t, shipUnit, "Result"); state != "inactive success" {
		t.Errorf("stopped, it is %s", state)
	}
	until(t, "nothing is left", func() bool { return left() == "" })
}

// expectActive: systemd says active, and that is when the application is up.
func expectActive(t *testing.T) {
	t.Helper()
	if state := property(t, shipUnit, "ActiveState"); state != "active" {
		t.Fatalf("it is %s", state)
	}
	if text := run(t, "sandbox", "status", "ship"); !strings.Contains(text, "up after") {
		t.Errorf("active, and the application's status is\n%s", text)
	}
}

// testReload: systemctl reload applies a changed policy, and fails where that
// cannot be.
func testReload(t *testing.T) {
	policy := read(t, shipFile)
	defer func() {
		write(t, shipFile, policy)
		run(t, "systemctl", "reload", shipUnit)
	}()
	web, slow := pids(t, "web"), pids(t, "slow")
	write(t, shipFile, strings.Replace(policy, "limits: {memory: 64M}", "limits: {memory: 65M}", 1))
	run(t, "systemctl", "reload", shipUnit)
	if now := pids(t, "slow"); !slices.Equal(now, slow) {
		t.Errorf("the unchanged component had the workers %v and has %v", slow, now)
	}
	now := pids(t, "web")
	if len(now) != 1 || slices.Equal(now, web) {
		t.Errorf("the changed component had the workers %v and has %v", web, now)
	}
	run(t, "sandbox", "inspect", "--verify", "ship") // its compartment has another name now

	write(t, shipFile, policy+"nonsense: 1\n")
	if text, ok := try("systemctl", "reload", shipUnit); ok {
		t.Errorf("the reload of a wrong policy succeeds: %s", text)
	}
	expectActive(t)
	if again := pids(t, "web"); !slices.Equal(again, now) {
		t.Errorf("a wrong policy changed the workers from %v to %v", now, again)
	}
}

func testRestart(t *testing.T) {
	main, before := property(t, shipUnit, "MainPID"), members(t)
	run(t, "systemctl", "restart", shipUnit)
	expectActive(t)
	if now := property(t, shipUnit, "MainPID"); now == main {
		t.Errorf("the main process is %s still", now)
	}
	expectGone(t, before)
}

// testCrash: kill -9 of the broker takes all with it, and systemd starts it anew.
func testCrash(t *testing.T) {
	kill(t, "KILL")
}

// testWatchdog: a broker that hangs is found by systemd's watchdog; those
// before, which did not, were left alone.
func testWatchdog(t *testing.T) {
	if text := journal(t); strings.Contains(text, "Watchdog timeout") {
		t.Fatalf("systemd's watchdog ended a broker that lives:\n%s", text)
	}
	kill(t, "STOP")
	until(t, "the unit's journal has the watchdog's word", func() bool { return strings.Contains(journal(t), "Watchdog timeout") })
}

// kill sends a signal to the broker and waits until systemd has it running
// again, with nothing of before.
func kill(t *testing.T, signal string) {
	t.Helper()
	main, before := property(t, shipUnit, "MainPID"), members(t)
	run(t, "kill", "-"+signal, main)
	until(t, "systemd starts it anew", func() bool {
		return property(t, shipUnit, "ActiveState") == "active" && property(t, shipUnit, "MainPID") != main
	})
	expectActive(t)
	expectGone(t, before)
	if n := len(pids(t, "web")); n != 1 {
		t.Errorf("web has %d workers", n)
	}
}

// expectGone: none of some processes is a process of the unit's any more.
func expectGone(t *testing.T, before []string) {
	t.Helper()
	for _, pid := range members(t) {
		if slices.Contains(before, pid) {
			b, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			t.Errorf("process %s of before is there still: %q", pid, b)
		}
	}
}
