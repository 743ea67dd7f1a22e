package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bulkhead/test/probes"
)

var probeRow = regexp.MustCompile(`(?m)^\| ([A-Za-z0-9-]+) \| .* \|$`)

// TestProbes: docs/probes.md has a row for every probe and for no other, in none
// of which Bulkhead lets one escape, and docs/security.md names none that is not
// there.
func TestProbes(t *testing.T) {
	program, err := probes.Build("../probes/program", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list, err := probes.List(program)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, probe := range list {
		names = append(names, probe.Name)
	}
	text := read(t, "docs/probes.md")
	_, table, _ := strings.Cut(text, "## Every probe")
	var rows []string
	for _, row := range probeRow.FindAllStringSubmatch(table, -1) {
		if row[1] == "probe" || row[1] == "---" {
			continue
		}
		rows = append(rows, row[1])
		if !strings.HasSuffix(row[0], "| stopped |") {
			t.Errorf("docs/probes.md: not stopped: %s", row[0])
		}
	}
	for _, name := range names {
		if !slices.Contains(rows, name) {
			t.Errorf("docs/probes.md has no row for %s; write its table again, as it says", name)
		}
	}
	for _, row := range rows {
		if !slices.Contains(names, row) {
			t.Errorf("docs/probes.md has a row for %s, which is no probe", row)
		}
	}
	for line := range strings.Lines(section(read(t, "docs/security.md"), "## What is defended")) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(line, "|") {
			continue
		}
		for _, quoted := range code.FindAllString(cells[4], -1) {
			name := strings.Trim(quoted, "`")
			if !strings.ContainsAny(name, "/ ") && !slices.Contains(names, name) {
				t.Errorf("docs/security.md names the probe %s, which is none", name)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is the text below a heading, up to the next one of any kind.
func section(text, title string) string {
	_, below, _ := strings.Cut(text, title+"\n")
	here, _, _ := strings.Cut(below, "\n#")
	return here
}
