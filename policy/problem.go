package policy

import (
	"fmt"
	"sort"
	"strings"
	"unicode"

	"bulkhead/policy/plan"
)

// Problem is one mistake, or one warning, at one place of a policy.
type Problem struct {
	Position plan.Position `json:"position"`
	Message  string        `json:"message"`        // what is wrong
	Hint     string        `json:"hint,omitempty"` // what to write instead
	Warning  bool          `json:"warning,omitempty"`
	Line     string        `json:"line,omitempty"` // the text of the line

	// Status is the exit status that tells a start which fails for this
	// alone from others: 127 where a program is not there, 126 where it
	// cannot be executed; else 0.
	Status int `json:"status,omitempty"`

	order int // of the file: in the order in which they were read
}

// Problems is the error of a policy: all its mistakes, ordered by position.
type Problems struct {
	List []Problem
}

// Error returns all mistakes, rendered without colour.
func (p *Problems) Error() string { return strings.TrimSuffix(p.Render(false), "\n") }

// Render returns all mistakes as a person should see them.
func (p *Problems) Render(color bool) string {
	var b strings.Builder
	for _, problem := range p.List {
		b.WriteString(problem.Render(color))
	}
	return b.String()
}

// The colours of a terminal: SGR sequences, see console_codes(4).
const (
	colorBold   = "\x1b[1m"
	colorRed    = "\x1b[1;31m"
	colorYellow = "\x1b[1;33m"
	colorGreen  = "\x1b[32m"
	colorEnd    = "\x1b[0m"
)

// Render returns the place and the message, the line with a caret below, and
// what to write instead.
func (p Problem) Render(color bool) string {
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return code + text + colorEnd
	}
	var b strings.Builder
	b.WriteString(paint(colorBold, positionText(p.Position)))
	if p.Warning {
		b.WriteString(paint(colorYellow, "warning: "))
	} else if color {
		b.WriteString(paint(colorRed, "error: "))
	}
	b.WriteString(printable(p.Message))
	b.WriteByte('\n')
	if p.Line != "" && p.Position.Column > 0 {
		blank, mark := caret(p.Line, p.Position.Column)
		fmt.Fprintf(&b, "    %s\n    %s%s\n", printable(p.Line), blank, paint(colorGreen, mark))
	}
	if p.Hint != "" {
		for _, line := range strings.Split(p.Hint, "\n") {
			fmt.Fprintf(&b, "    %s\n", printable(line))
		}
	}
	return b.String()
}

func positionText(at plan.Position) string {
	switch {
	case at.File == "":
		return ""
	case at.Line == 0:
		return printable(at.File) + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", printable(at.File), at.Line, at.Column)
}

// caret returns the blank space and the mark below the word of line that
// starts at column.
func caret(line string, column int) (blank, mark string) {
	runes := []rune(line)
	var b strings.Builder
	for i := 0; i < column-1 && i < len(runes); i++ {
		if runes[i] == '\t' {
			b.WriteRune('\t') // so that the caret stands right whatever a tab's width is
		} else {
			b.WriteByte(' ')
		}
	}
	width := 1
	if column-1 < len(runes) {
		rest := runes[column-1:]
		if quote := rest[0]; quote == '"' || quote == '\'' {
			for width < len(rest) && rest[width] != quote {
				width++
			}
			width = min(width+1, len(rest))
		} else {
			for width < len(rest) && !strings.ContainsRune(" ,]}:#", rest[width]) {
				width++
			}
		}
	}
	return b.String(), "^" + strings.Repeat("~", width-1)
}

// printable keeps a policy that somebody else wrote from writing escape
// sequences to the reader's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

// sources remembers the lines of everything that was read, for the messages.
type sources struct {
	lines map[string][]string
	order map[string]int
}

func newSources() *sources {
	return &sources{lines: map[string][]string{}, order: map[string]int{}}
}

func (s *sources) add(name string, text string) {
	if _, known := s.order[name]; !known {
		s.order[name] = len(s.order)
	}
	s.lines[name] = strings.Split(text, "\n")
}

// finish sorts problems by position, drops those said twice (two components
// that extend one profile) and adds each one's line.
func (s *sources) finish(problems []Problem) []Problem {
	type identity struct {
		at      plan.Position
		message string
	}
	seen := map[identity]bool{}
	var kept []Problem
	for _, p := range problems {
		key := identity{p.Position, p.Message}
		if seen[key] {
			continue
		}
		seen[key] = true
		order, known := s.order[p.Position.File]
		if !known {
			order = len(s.order)
		}
		p.order = order
		if lines := s.lines[p.Position.File]; p.Position.Line >= 1 && p.Position.Line <= len(lines) {
			p.Line = shorten(lines[p.Position.Line-1])
		}
		kept = append(kept, p)
	}
	sort.SliceStable(kept, func(i, j int) bool {
		a, b := kept[i], kept[j]
		if a.order != b.order {
			return a.order < b.order
		}
		if a.Position.Line != b.Position.Line {
			return a.Position.Line < b.Position.Line
		}
		if a.Position.Column != b.Position.Column {
			return a.Position.Column < b.Position.Column
		}
		return a.Message < b.Message
	})
	return kept
}

// shorten drops a line that nobody can read on a screen; the column would
// point nowhere on a part of it.
func shorten(line string) string {
	const widest = 500
	line = strings.TrimRight(line, "\r")
	if len(line) > widest {
		return ""
	}
	return line
}

// split separates warnings from mistakes.
func split(problems []Problem) (warnings, mistakes []Problem) {
	for _, p := range problems {
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			mistakes = append(mistakes, p)
		}
	}
	return warnings, mistakes
}

// reporter collects problems.
type reporter struct {
	problems []Problem
}

func (r *reporter) mistake(at plan.Position, hint, format string, arguments ...any) {
	r.problems = append(r.problems, Problem{Position: at, Hint: hint, Message: fmt.Sprintf(format, arguments...)})
}

func (r *reporter) warn(at plan.Position, hint, format string, arguments ...any) {
	r.problems = append(r.problems, Problem{Position: at, Hint: hint, Message: fmt.Sprintf(format, arguments...), Warning: true})
}
