package probes

import (
	"fmt"
	"io"
	"strings"
)

// Column is what one runner made of all probes.
type Column struct {
	Runner  string
	Results []Result
}

// Count tells how often a verdict was given.
func (c Column) Count(verdict Verdict) int {
	n := 0
	for _, result := range c.Results {
		if result.Verdict == verdict {
			n++
		}
	}
	return n
}

// WriteTable writes who stops what as Markdown, for docs/security.md.
func WriteTable(out io.Writer, columns []Column) error {
	var text strings.Builder
	text.WriteString("| probe | what it tries | reference |")
	for _, column := range columns {
		fmt.Fprintf(&text, " %s |", column.Runner)
	}
	text.WriteString("\n| --- | --- | --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	for i, result := range columns[0].Results {
		probe := result.Probe
		fmt.Fprintf(&text, "| %s | %s | %s |", probe.Name, probe.Title, probe.Reference)
		for _, column := range columns {
			fmt.Fprintf(&text, " %s |", word(column.Results[i].Verdict))
		}
		text.WriteString("\n")
	}
	for _, verdict := range []Verdict{Stopped, Escaped, Untested} {
		fmt.Fprintf(&text, "| **%s** | | |", word(verdict))
		for _, column := range columns {
			fmt.Fprintf(&text, " **%d** |", column.Count(verdict))
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// word stands out less where nothing happened, so that the eye finds the escapes.
func word(verdict Verdict) string {
	switch verdict {
	case Stopped:
		return "stopped"
	case Escaped:
		return "ESCAPED"
	}
	return "untested"
}
