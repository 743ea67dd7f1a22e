package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the checkout, seen from this directory.
const root = "../.."

// page is one Markdown file.
type page struct {
	path   string // from the checkout's root
	text   string
	blocks []block
}

// block is one fenced block of a page.
type block struct {
	kind string // what stands behind the backquotes
	text string
	line int // of its first line
}

var fence = regexp.MustCompile("(?ms)^```([a-z ]*)\n(.*?)^```$")

// pages are all Markdown files that belong to the project.
func pages(t *testing.T) []page {
	t.Helper()
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list the pages: %v", err)
	}
	var all []page
	for path := range strings.FieldsSeq(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		p := page{path: path, text: string(text)}
		for _, at := range fence.FindAllStringSubmatchIndex(p.text, -1) {
			p.blocks = append(p.blocks, block{
				kind: p.text[at[2]:at[3]], text: p.text[at[4]:at[5]],
				line: strings.Count(p.text[:at[4]], "\n") + 1,
			})
		}
		all = append(all, p)
	}
	if len(all) < 8 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}
