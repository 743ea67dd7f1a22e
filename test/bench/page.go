package main

import (
	"bytes"
	"fmt"
	"os"
)

// pageHeading is where the run begins in docs/performance.md; it goes on to the page's end.
const pageHeading = "## The recorded run\n"

// writePage puts the run into the page that tells of it, in place of the one before.
func (r *Report) writePage(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, found := bytes.Cut(page, []byte(pageHeading))
	if !found {
		return fmt.Errorf("%s has no line %q behind which the run could stand", path, pageHeading)
	}
	out := bytes.NewBuffer(before)
	fmt.Fprintf(out, "%s\n%s. %s, %d rounds; bold is Bulkhead.\n", pageHeading, r.Machine, r.When, r.Rounds)
	group := ""
	for _, line := range r.Lines {
		if line.Group != group {
			group = line.Group
			second := "p99"
			if line.Together {
				second = "a second"
			}
			fmt.Fprintf(out, "\n### %s\n\n| case | median | %s | ratio | samples |\n| --- | --- | --- | --- | --- |\n", group, second)
		}
		name := line.Name
		if line.Ours {
			name = "**" + name + "**"
		}
		if line.Samples == 0 {
			fmt.Fprintf(out, "| %s | %s%s | | | |\n", name, line.Skipped, line.Failed)
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %d |\n", name, duration(line.Median), line.Second(), line.ratio(), line.Samples)
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
