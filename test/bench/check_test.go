package main

import (
	"io"
	"strings"
	"testing"
)

func reportOf(lines ...Line) *Report { return &Report{Lines: lines} }

func TestCheck(t *testing.T) {
	ours := func(ratio float64) Line { return Line{Group: "g", Name: "worker start", Ours: true, Ratio: ratio} }
	peer := func(ratio float64) Line { return Line{Group: "g", Name: "bwrap", Ratio: ratio} }
	skipped := ours(0)
	skipped.Skipped = "skipped, because of the test"
	for _, c := range []struct {
		name               string
		recorded, measured *Report
		complaint          string // "" when the check passes
	}{
		{"the same", reportOf(ours(1.2)), reportOf(ours(1.2)), ""},
		{"within the margin", reportOf(ours(1.2)), reportOf(ours(1.49)), ""},
		{"beyond the margin", reportOf(ours(1.2)), reportOf(ours(1.51)), "fell behind"},
		{"a peer may change", reportOf(ours(1.2), peer(2)), reportOf(ours(1.2), peer(9)), ""},
		{"ours no longer runs", reportOf(ours(1.2)), reportOf(skipped), "gave no ratio"},
		{"nothing recorded", reportOf(peer(2)), reportOf(ours(1.2), peer(2)), "no line of Bulkhead's own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check(io.Discard, c.recorded, c.measured, 0.25)
			if (err == nil) != (c.complaint == "") || (err != nil && !strings.Contains(err.Error(), c.complaint)) {
				t.Errorf("check: %v, want %q", err, c.complaint)
			}
		})
	}
}
