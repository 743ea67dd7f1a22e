package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestModules: docs/dependencies.md has a line for every module that one of the
// programs links, and for no other.
func TestModules(t *testing.T) {
	linked := map[string]bool{}
	for _, program := range []string{"sandbox", "sandbox-builder", "sandbox-monitor", "sandbox-supervisor"} {
		for _, module := range modules(t, program) {
			linked[module] = true
			if program != "sandbox" && program != "sandbox-builder" && module != "golang.org/x/sys" {
				t.Errorf("%s links %s: nothing but golang.org/x/sys belongs there", program, module)
			}
		}
	}
	for module := range linked {
		if !slices.Contains(listed(t), module) {
			t.Errorf("docs/dependencies.md has no line for %s, which is linked", module)
		}
	}
	for _, name := range listed(t) {
		if strings.Contains(name, ".") && strings.Contains(name, "/") && !linked[name] {
			t.Errorf("docs/dependencies.md has a line for %s, which nothing links", name)
		}
	}
}

func modules(t *testing.T, program string) []string {
	t.Helper()
	c := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/"+program)
	c.Dir = root
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if program == "sandbox" || program == "sandbox-builder" {
		c.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("list what %s links: %v", program, err)
	}
	all := strings.Fields(string(out))
	slices.Sort(all)
	return slices.Compact(all)
}

var firstCell = regexp.MustCompile(`(?m)^\| (.*?) \|`)

// listed are the names in the first cells of the tables.
func listed(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, cell := range firstCell.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		for _, name := range code.FindAllString(cell[1], -1) {
			names = append(names, strings.Trim(name, "`"))
		}
	}
	return names
}

// TestPackages: docs/dependencies.md names every Debian package that the
// Makefile or a packages.txt installs.
func TestPackages(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join(root, "*/packages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "*/*/packages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	for _, list := range append(lists, more...) {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			wanted = append(wanted, strings.Fields(line)...)
		}
	}
	build := regexp.MustCompile(`(?m)^PACKAGES_BUILD *:= *(.*)$`).FindStringSubmatch(read(t, "Makefile"))
	if build == nil {
		t.Fatal("the Makefile has no PACKAGES_BUILD")
	}
	names := listed(t)
	for _, name := range append(wanted, strings.Fields(build[1])...) {
		if !slices.Contains(names, name) {
			t.Errorf("docs/dependencies.md has no line for the Debian package %s", name)
		}
	}
}
