package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// A Report is one run of the suite.
type Report struct {
	When    string  `json:"when"`
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Lines   []Line  `json:"lines"`
}

// A Line is what one case gave. Times are in nanoseconds; Ratio is to the group's baseline, 0 when there is none.
type Line struct {
	Group     string  `json:"group"`
	Name      string  `json:"name"`
	Isolation string  `json:"isolation"`
	Baseline  string  `json:"baseline"`
	Ours      bool    `json:"ours,omitempty"`
	Together  bool    `json:"together,omitempty"` // many at once: what counts is how many a second
	Samples   int     `json:"samples"`
	Least     float64 `json:"least_ns,omitempty"`
	Median    float64 `json:"median_ns,omitempty"`
	P99       float64 `json:"p99_ns,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
	Skipped   string  `json:"skipped,omitempty"`
	Failed    string  `json:"failed,omitempty"`
}

func newReport(runners []*runner, cgroupMode string, rounds int) *Report {
	report := &Report{When: time.Now().UTC().Format(time.RFC3339), Machine: thisMachine(cgroupMode), Rounds: rounds}
	byCase := map[*benchCase]*runner{}
	for _, r := range runners {
		byCase[r.benchCase] = r
	}
	for _, r := range runners {
		line := Line{Group: r.group.title, Name: r.name, Isolation: r.isolation, Baseline: r.group.baseline, Ours: r.ours, Together: r.group.together, Skipped: r.skipped}
		switch {
		case r.failed != nil:
			line.Failed = r.failed.Error()
		case len(r.all) > 0:
			line.Samples = len(r.all)
			line.Least, line.Median, line.P99 = quantile(r.all, 0), median(r.all), quantile(r.all, 0.99)
			line.Ratio = ratio(r.batches, byCase[r.baseline()].batches)
		}
		report.Lines = append(report.Lines, line)
	}
	return report
}

// failures is an error when a case that should have run did not.
func (r *Report) failures() error {
	failed := 0
	for _, line := range r.Lines {
		if line.Failed != "" {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d cases failed: the table says why", failed)
	}
	return nil
}

func (r *Report) writeText(out io.Writer) {
	fmt.Fprintf(out, "%s\n%s, %d rounds\n", r.Machine, r.When, r.Rounds)
	group := ""
	for _, line := range r.Lines {
		if line.Group != group {
			group = line.Group
			fmt.Fprintf(out, "\n%s\n(1.00 = %s)\n", group, line.Baseline)
			second := "p99"
			if line.Together {
				second = "a second"
			}
			fmt.Fprintf(out, "  %-36s %10s %10s %7s %7s  %s\n", "", "median", second, "ratio", "samples", "isolation")
		}
		switch {
		case line.Skipped != "":
			fmt.Fprintf(out, "  %-36s %s\n", line.Name, line.Skipped)
		case line.Failed != "":
			fmt.Fprintf(out, "  %-36s FAILED: %s\n", line.Name, line.Failed)
		default:
			fmt.Fprintf(out, "  %-36s %10s %10s %7s %7d  %s\n", line.Name, duration(line.Median), line.Second(), line.ratio(), line.Samples, line.Isolation)
		}
	}
}

// ratio is as it is printed: a dash when the baseline did not run.
func (l Line) ratio() string {
	if l.Ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", l.Ratio)
}

// Second is what stands beside the median: how bad it gets, or where many run at once how many that makes.
func (l Line) Second() string {
	if l.Together {
		return fmt.Sprintf("%.0f", 1e9/l.Median)
	}
	return duration(l.P99)
}

// duration prints nanoseconds with three digits, in the unit that suits them.
func duration(ns float64) string {
	value, unit := ns/1e6, "ms"
	if ns < 1e5 {
		value, unit = ns/1e3, "us"
	}
	switch {
	case value < 10:
		return fmt.Sprintf("%.2f %s", value, unit)
	case value < 100:
		return fmt.Sprintf("%.1f %s", value, unit)
	default:
		return fmt.Sprintf("%.0f %s", value, unit)
	}
}

func (r *Report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readReport(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s is not a report of this suite: %w", path, err)
	}
	return &r, nil
}
