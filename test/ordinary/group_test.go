package ordinary

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func busybox(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("components here are busybox programs: install busybox-static: %v", err)
	}
	return path
}

const plain = "application: a\ncomponents:\n  web: {command: [BUSYBOX, echo, hello], restart: never}\n"

// What needs no group works without one.
func TestWithoutStarting(t *testing.T) {
	u := New(t)
	policy := u.File("policy.yaml", strings.ReplaceAll(plain, "BUSYBOX", busybox(t)))
	for _, arguments := range [][]string{
		{"check", policy}, {"explain", policy}, {"lint", policy}, {"diff", policy, policy}, {"schema"},
		{"init", busybox(t)}, {"wrap", "--print", "--", busybox(t), "echo"},
	} {
		if status, said := u.Run(arguments...); status != 0 {
			t.Errorf("%v: status %d:\n%s", arguments, status, said)
		}
	}
}

// Where nothing is delegated to the user, a start says so before it makes anything.
func TestNoGroup(t *testing.T) {
	if os.Geteuid() != 0 && hasGroup() == nil {
		t.Skip("a group is delegated to this user")
	}
	u := New(t)
	policy := u.File("policy.yaml", strings.ReplaceAll(plain, "BUSYBOX", busybox(t)))
	for _, arguments := range [][]string{{"run", policy}, {"wrap", "--", busybox(t), "echo", "hello"}} {
		status, said := u.Run(arguments...)
		if status != 125 || !strings.Contains(said, "find a place for the application's cgroups: this user may make no cgroups") {
			t.Errorf("%v: status %d:\n%s", arguments, status, said)
		}
	}
	u.nothingLeft("*")
}

// doctor tells what is so: whether applications can be started, and that the programs of the wall of
// addresses take root.
func TestDoctor(t *testing.T) {
	u := New(t)
	_, said := u.Run("doctor", "--json")
	var findings []struct {
		Subject, Detail, Advice string
		Enforced, Needed        bool
	}
	if err := json.Unmarshal([]byte(said), &findings); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	group := os.Geteuid() != 0 && hasGroup() == nil
	seen := 0
	for _, f := range findings {
		seen++
		switch f.Subject {
		case "cgroups":
			if f.Enforced != group || !group && !strings.Contains(f.Advice, "this user may make no cgroups") || group && !strings.Contains(f.Detail, ", delegated: /") {
				t.Errorf("%+v", f)
			}
		case "ids":
			if f.Enforced != (u.ids() == nil) || !f.Enforced && f.Advice == "" {
				t.Errorf("%+v: %v", f, u.ids())
			}
		case "addresses":
			if f.Enforced || !strings.Contains(f.Detail, "operation not permitted") || !strings.Contains(f.Advice, "run it as root") {
				t.Errorf("%+v", f)
			}
		case "Landlock":
			if !f.Enforced && !strings.Contains(f.Advice, "lsm=landlock") {
				t.Errorf("%+v", f)
			}
		default:
			if !f.Enforced {
				t.Errorf("%+v", f)
			}
		}
	}
	if seen != 10 {
		t.Errorf("%d findings:\n%s", seen, said)
	}
	if status, said := u.Run("doctor"); (status == 0) != group || status > 1 {
		t.Errorf("status %d:\n%s", status, said)
	}
}
