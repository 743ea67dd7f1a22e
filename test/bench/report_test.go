package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sampleReport() *Report {
	return &Report{When: "2026-01-02T03:04:05Z", Rounds: 3, Machine: Machine{Kernel: "6.1", CPU: "a <fast> one", Cores: 2, Cgroup: "v2"}, Lines: []Line{
		{Group: "start", Name: "raw", Isolation: "none", Baseline: "raw", Samples: 9, Median: 1e6, P99: 2e6, Ratio: 1},
		{Group: "start", Name: "peer", Isolation: "some", Baseline: "raw", Samples: 9, Median: 3e6, P99: 9e6, Ratio: 3},
		{Group: "start", Name: "ours", Isolation: "all", Baseline: "raw", Ours: true, Skipped: "not built: skipped, because of the test"},
		{Group: "start", Name: "broken", Isolation: "all", Baseline: "raw", Failed: "exit status 125"},
	}}
}

func TestTextSaysEverything(t *testing.T) {
	var out strings.Builder
	sampleReport().writeText(&out)
	for _, want := range []string{"Linux 6.1", "2 cores", "cgroup v2", "3.00 ms", "9.00 ms", "some", "skipped, because of the test", "FAILED: exit status 125"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestPageIsSelfContained(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.html")
	if err := sampleReport().writeHTML(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{"<svg", "3.00 ms", "a &lt;fast&gt; one", "because of the test"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, foreign := range []string{"http://", "https://", "<script", "<link", "<img"} {
		if strings.Contains(page, foreign) {
			t.Errorf("the page has %q and is not self-contained", foreign)
		}
	}
}

func TestReportComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	written := sampleReport()
	if err := written.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Lines) != len(written.Lines) || read.Lines[1] != written.Lines[1] || read.Machine != written.Machine {
		t.Errorf("read %+v, wrote %+v", read, written)
	}
}

func TestPageKeepsWhatStandsBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	report := Report{When: "now", Rounds: 3, Lines: []Line{
		{Group: "start", Name: "raw", Baseline: "raw", Samples: 9, Median: 1e6, P99: 2e6, Ratio: 1},
		{Group: "start", Name: "ours", Baseline: "raw", Ours: true, Samples: 9, Median: 15e5, P99: 2e6, Ratio: 1.5},
		{Group: "many", Name: "ours", Baseline: "ours", Ours: true, Together: true, Samples: 9, Median: 2e6, P99: 2e6, Ratio: 1},
		{Group: "many", Name: "peer", Baseline: "ours", Skipped: "not here"},
	}}
	if err := os.WriteFile(path, []byte("# Page\n\n"+pageHeading+"\nolder\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second run replaces the first
		if err := report.writePage(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{"# Page\n\n" + pageHeading, "| **ours** | 1.50 ms | 2.00 ms | 1.50 | 9 |\n", "| **ours** | 2.00 ms | 500 | 1.00 | 9 |\n", "| peer | not here |"} {
		if strings.Count(page, want) != 1 {
			t.Errorf("%q stands %d times in:\n%s", want, strings.Count(page, want), page)
		}
	}
	if strings.Contains(page, "older") {
		t.Error("the older run is still there")
	}
	if err := os.WriteFile(path, []byte("# Page\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if report.writePage(path) == nil {
		t.Error("a page without the heading was written")
	}
}
