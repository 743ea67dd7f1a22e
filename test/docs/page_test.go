package docs

import (
	"io/fs"
	"os"
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

// pages are all Markdown files of the checkout.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		all = append(all, newPage(relative, string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

func newPage(path, text string) page {
	p := page{path: path, text: text}
	for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
		p.blocks = append(p.blocks, block{
			kind: text[at[2]:at[3]], text: text[at[4]:at[5]],
			line: strings.Count(text[:at[4]], "\n") + 1,
		})
	}
	return p
}
