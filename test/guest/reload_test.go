package guest

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const before = `application: {{NAME}}
grants:
  old: {listen: "unix:{{DIR}}/old"}
components:
  calm: {command: [/bin/busybox, sleep, "1000"]}
  told: {command: [/bin/busybox, sleep, "1001"]}
  gone: {grants: [old], command: [/bin/busybox, sleep, "1002"]}
`

const after = `application: {{NAME}}
grants:
  new: {listen: "unix:{{DIR}}/new"}
components:
  calm: {command: [/bin/busybox, sleep, "1000"]}
  told: {command: [/bin/busybox, sleep, "2001"], limits: {memory: 40M}}
  come: {grants: [new], command: [/bin/busybox, sleep, "1003"]}
`

// TestReload: on pure cgroup v2, as root and as an ordinary user, a changed
// policy is applied, and what did not change keeps its process; the cgroups are
// those of the new policy.
func TestReload(t *testing.T) {
	a := application(t, "reload")
	a.Run(before).Expect("up after")
	was := pids(t, a)
	reload := func(policy string, flags ...string) string {
		return a.Sandbox(append(append([]string{"reload"}, flags...), a.Policy(policy))...)
	}

	if said := reload(after, "--dry-run"); !strings.Contains(said, "told") || !strings.Contains(said, "come") || !strings.Contains(said, "gone") {
		t.Errorf("--dry-run says\n%s", said)
	}
	if said := reload(after + "nonsense: 1\n"); !strings.Contains(said, `unknown key "nonsense"`) {
		t.Errorf("a mistake is answered with\n%s", said)
	}
	if now := pids(t, a); now["calm"] != was["calm"] || now["told"] != was["told"] || now["gone"] != was["gone"] {
		t.Errorf("nothing was to change: %v and %v", was, now)
	}

	said := reload(after)
	now := map[string]uint32{}
	a.Until("the new ones run", func() bool {
		now = pids(t, a)
		return now["told"] != 0 && now["come"] != 0
	})
	if now["calm"] != was["calm"] || now["told"] == was["told"] {
		t.Errorf("reload says\n%s\nand there were %v, and are %v", said, was, now)
	}
	if _, there := now["gone"]; there {
		t.Error("a component is there that the policy has no more")
	}
	if _, err := os.Stat(filepath.Join(a.Dir, "old")); !os.IsNotExist(err) {
		t.Errorf("the old socket: %v", err)
	}
	if c, err := net.Dial("unix", filepath.Join(a.Dir, "new")); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if all := groups(a); slices.ContainsFunc(all, func(name string) bool { return strings.HasPrefix(name, "gone") }) ||
		!slices.ContainsFunc(all, func(name string) bool { return strings.HasPrefix(name, "come") }) {
		t.Errorf("the cgroups are %q", all)
	}

	a.Signal(unix.SIGTERM)
	if status := a.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if all := groups(a); len(all) > 0 {
		t.Errorf("left are the cgroups %q", all)
	}
}
