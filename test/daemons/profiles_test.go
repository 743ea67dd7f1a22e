package daemons

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A ready profile is a policy of its own, one that another policy includes, and
// if it is of one component one that another policy extends under a name of its
// own.
func TestEveryProfileIsAPolicyAndCanBeExtended(t *testing.T) {
	long(t)
	needs(t)
	// What an administrator makes first, as the profile says.
	base := directory(t, "root")
	for _, name := range []string{"login", "token-login"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	settings := map[string][]string{
		"dovecot":    {"--set", "variables.base=" + base},
		"git-daemon": {"--set", "variables.repositories=" + base},
	}
	ready := 0
	for _, path := range glob(t, "../../profiles/*.yaml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\napplication: ") {
			continue // of the base family
		}
		ready++
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		including := file(t, filepath.Join(t.TempDir(), "policy.yaml"), "include: "+name+"\napplication: shop\n", 0o644)
		policies := []string{path, including}
		if !strings.Contains(string(text), "start: on-exec") {
			policies = append(policies, file(t, filepath.Join(t.TempDir(), "policy.yaml"),
				"application: shop\ncomponents:\n  engine: {extends: "+name+"}\n", 0o644))
		}
		for _, policy := range policies {
			if got, err := command(sandbox(t), append([]string{"check", policy}, settings[name]...)...); err != nil {
				t.Errorf("%s: %v: %s", name, err, got)
			}
		}
	}
	if ready < 8 {
		t.Errorf("there are %d ready profiles", ready)
	}
}
