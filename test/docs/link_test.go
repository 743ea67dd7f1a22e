package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*?) *$`)
	code    = regexp.MustCompile("`[^`\n]*`")
)

// TestLinks: every link between pages leads to a file that is there, and to a
// heading that it has.
func TestLinks(t *testing.T) {
	headings := map[string]map[string]bool{}
	all := pages(t)
	for _, p := range all {
		headings[p.path] = anchors(p)
	}
	for _, p := range all {
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(fence.ReplaceAllString(p.text, ""), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := p.path
			if target != "" {
				file = filepath.Join(filepath.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which is not there", p.path, found[1])
				continue
			}
			if anchor != "" && !headings[file][anchor] {
				t.Errorf("%s links to %s, but %s has no such heading", p.path, found[1], file)
			}
		}
	}
}

// anchors are the names that a page's headings get: lower case, blanks to
// dashes, punctuation dropped.
func anchors(p page) map[string]bool {
	names := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(found[1]))] = true
	}
	return names
}

var makeTarget = regexp.MustCompile("(?m)^[` ]*(?:sudo )?make ([a-z]+(?:-[a-z]+)*)\\b")

// TestTargets: every `make TARGET` that a page tells the reader to type exists.
func TestTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^([a-z-]+(?: [a-z-]+)*):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		for target := range strings.FieldsSeq(found[1]) {
			targets[target] = true
		}
	}
	for _, p := range pages(t) {
		for _, found := range makeTarget.FindAllStringSubmatch(commands(p.text), -1) {
			if !targets[found[1]] {
				t.Errorf("%s says make %s; the Makefile has no such target", p.path, found[1])
			}
		}
	}
}

// commands are the parts of a page that a reader may type: what is in
// backquotes, and indented lines.
func commands(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    ") && !strings.HasPrefix(strings.TrimSpace(line), "-") {
			b.WriteString(line)
			continue
		}
		for _, part := range code.FindAllString(line, -1) {
			b.WriteString(part + "\n")
		}
	}
	return b.String()
}
