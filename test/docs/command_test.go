package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var commandLine = regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`)

// TestCommands: the README has every command that sandbox --help lists in one
// of its groups.
func TestCommands(t *testing.T) {
	out, err := exec.Command(filepath.Join(root, "bin/sandbox"), "--help").Output()
	if err != nil {
		t.Fatalf("the launcher that the README is about, run make build: %v", err)
	}
	groups, _, _ := strings.Cut(string(out), "Additional Commands:")
	found := commandLine.FindAllStringSubmatch(groups, -1)
	if len(found) < 10 {
		t.Fatalf("only %d commands were found in\n%s", len(found), groups)
	}
	table := section(read(t, "README.md"), "## The commands")
	for _, c := range found {
		if !strings.Contains(table, "`sandbox "+c[1]) && !strings.Contains(table, "`"+c[1]+"`") {
			t.Errorf("the README's table of commands has no %q", c[1])
		}
	}
}
