package inspect

import (
	"strings"
	"unicode/utf8"
)

// Table aligns columns, whatever colours are in them.
type Table struct {
	rows   [][]string
	indent string
}

// NewTable starts a table; its heading is a row like others.
func NewTable(indent string, heading ...string) *Table {
	t := &Table{indent: indent}
	if len(heading) > 0 {
		t.Row(heading...)
	}
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *Table) String() string {
	var widths []int
	for _, row := range t.rows {
		for k, cell := range row {
			if k == len(widths) {
				widths = append(widths, 0)
			}
			widths[k] = max(widths[k], width(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		line := t.indent
		for k, cell := range row {
			line += cell
			if k < len(row)-1 {
				line += strings.Repeat(" ", widths[k]-width(cell)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// width is how many columns a cell takes, without its colours.
func width(s string) int {
	n := 0
	for len(s) > 0 {
		if strings.HasPrefix(s, "\x1b[") {
			if end := strings.IndexByte(s, 'm'); end >= 0 {
				s = s[end+1:]
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		n++
	}
	return n
}
