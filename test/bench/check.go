package main

import (
	"errors"
	"fmt"
	"io"
)

// check compares Bulkhead's own lines with a recorded run. Only ratios are compared, because they carry over between
// machines; the raw limits and the peers are not compared, because nothing in this project changes them.
func check(out io.Writer, recorded, measured *Report, margin float64) error {
	now := map[string]Line{}
	for _, line := range measured.Lines {
		now[line.Group+": "+line.Name] = line
	}
	compared := 0
	var behind error
	fmt.Fprintf(out, "\nAgainst the record of %s, margin %.0f %%\n", recorded.When, margin*100)
	for _, then := range recorded.Lines {
		if !then.Ours || then.Ratio == 0 {
			continue
		}
		name := then.Group + ": " + then.Name
		line, ok := now[name]
		if !ok {
			// -only left it out.
			continue
		}
		compared++
		switch most := then.Ratio * (1 + margin); {
		case line.Ratio == 0:
			behind = errors.Join(behind, fmt.Errorf("%s: recorded at %.2f, gave no ratio now: %s%s", name, then.Ratio, line.Skipped, line.Failed))
		case line.Ratio > most:
			behind = errors.Join(behind, fmt.Errorf("%s: fell behind, ratio %.2f, recorded %.2f, at most %.2f allowed", name, line.Ratio, then.Ratio, most))
		default:
			fmt.Fprintf(out, "  %-40s %.2f, recorded %.2f\n", then.Name, line.Ratio, then.Ratio)
		}
	}
	if compared == 0 {
		// A guard that compares nothing must not look like one that passed.
		return errors.New("the record has no line of Bulkhead's own to compare with")
	}
	return behind
}
