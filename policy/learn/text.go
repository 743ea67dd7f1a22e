package learn

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// line is one line of a draft that stands for one thing that was seen.
type line struct {
	text    string // YAML
	comment string // where it comes from
	refused string // why the compiler does not take it
}

// seenTimes says how often something was seen.
func seenTimes(count uint64) string {
	if count == 1 {
		return "seen once"
	}
	return fmt.Sprintf("seen %d times", count)
}

// printer writes lines and remembers which number each got.
type printer struct {
	text  strings.Builder
	count int
	lines map[int]*line
}

func (p *printer) plain(format string, arguments ...any) {
	fmt.Fprintf(&p.text, format+"\n", arguments...)
	p.count++
}

// entry writes a line that may be refused; then it stands there as a comment.
func (p *printer) entry(indent string, l *line) {
	if l.refused != "" {
		p.plain("%s# left out: %s  (%s; %s)", indent, l.text, l.refused, l.comment)
		return
	}
	text := indent + l.text
	if l.comment != "" {
		text = fmt.Sprintf("%-48s # %s", text, l.comment)
	}
	p.plain("%s", text)
	p.lines[p.count] = l
}

// section writes a key with a list below it, when there is anything to list.
func (p *printer) section(indent, key string, lines []*line) {
	if len(lines) == 0 {
		return
	}
	some := false
	for _, l := range lines {
		some = some || l.refused == ""
	}
	if some {
		p.plain("%s%s:", indent, key)
	}
	for _, l := range lines {
		p.entry(indent+"  ", l)
	}
}

// Compiled when they are used: sandbox run never does.
var (
	plainWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z/_][A-Za-z0-9/._+@=-]*$`) })
	unclear   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?i:true|false|yes|no|on|off|null|y|n)$`) })
)

// word writes a text so that YAML reads it as that text.
func word(text string) string {
	if plainWord().MatchString(text) && !unclear().MatchString(text) {
		return text
	}
	return strconv.Quote(strings.ReplaceAll(text, "${", "$${"))
}

// pathWord is word for a path under files:, where * ? [ make a pattern.
func pathWord(text string) string { return word(text) }

func list(texts []string) string {
	words := make([]string, len(texts))
	for i, text := range texts {
		words[i] = word(text)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// oneLine makes a comment of any text.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
