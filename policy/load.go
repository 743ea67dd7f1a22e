package policy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"bulkhead/policy/plan"
)

// How many files may belong to one policy, includes and drop-ins counted.
const mostFiles = 64

// Load reads a policy file with everything that belongs to it: the files that
// it includes, the profiles that it extends, the drop-ins policy.d/*.yaml
// beside it, and the overrides of the command line.
//
// Where the file can be read as YAML, Load returns a Policy beside the error:
// give it to Compile, which then reports the mistakes of both at once.
func Load(path string, o Options) (*Policy, error) {
	l := newLoader()
	text, uid, err := readBounded(path)
	if err != nil {
		return nil, &Problems{List: []Problem{{Position: plan.Position{File: path}, Message: reason(err),
			Hint: "name a policy file that can be read"}}}
	}
	root := l.read(path, text)
	if root != nil {
		root = l.dropIns(path, uid, root, o.DropIns)
	}
	return l.finish(path, root, o)
}

// Parse reads a policy from text. Includes are read relative to name; there
// are no drop-ins.
func Parse(name string, text []byte, o Options) (*Policy, error) {
	l := newLoader()
	return l.finish(name, l.read(name, string(text)), o)
}

// loader reads and merges the files of one policy.
type loader struct {
	*reporter
	sources   *sources
	files     int
	including []string         // files being read, for cycles
	library   map[string]*node // profiles that were read
	extended  map[string][]string
	variables variables
}

func newLoader() *loader {
	return &loader{reporter: &reporter{}, sources: newSources(), library: map[string]*node{}, extended: map[string][]string{}}
}

func (l *loader) finish(name string, root *node, o Options) (*Policy, error) {
	if root != nil && root.kind == mapNode {
		root = l.overrides(root, o.Set)
		l.variables = l.collectVariables(root, nil)
		root = l.variables.resolveTree(l.reporter, root)
		root = l.extendAll(root)
		l.variables.warnUnused(l.reporter)
	}
	if root == nil {
		return nil, &Problems{List: l.sources.finish(l.problems)}
	}
	file := decodeFile(root, l.reporter)
	p := &Policy{Source: name, file: file, tree: root, sources: l.sources, problems: l.problems, profiles: l.extended}
	if _, mistakes := split(l.problems); len(mistakes) > 0 {
		return p, &Problems{List: l.sources.finish(mistakes)}
	}
	return p, nil
}

// read parses one file and merges it over the files that it includes.
func (l *loader) read(name, text string) *node {
	l.sources.add(name, text)
	l.files++
	root := readDocument(name, text, l.reporter)
	if root == nil || root.kind != mapNode {
		return root
	}
	included := root.get("include")
	if included == nil {
		return root
	}
	l.including = append(l.including, filepath.Clean(name))
	defer func() { l.including = l.including[:len(l.including)-1] }()
	var base *node
	for _, item := range normalize(included, "include").items {
		if item.kind != scalarNode {
			continue // the decoder reports it
		}
		if part := l.include(name, item); part != nil && part.kind == mapNode {
			base = merge(base, part, "")
		}
	}
	if base == nil {
		return root
	}
	return merge(base, root, "")
}

func (l *loader) include(from string, item *node) *node {
	path, text, isProfile := item.text, "", false
	if !strings.Contains(path, "/") && !strings.HasSuffix(path, ".yaml") {
		// A whole profile, by the name that extends: has for it. A file of
		// that name has to be written ./NAME.
		text, isProfile = profileText(path)
	}
	switch {
	case isProfile:
		path = profileFile(path)
	case !filepath.IsAbs(path):
		path = filepath.Join(filepath.Dir(from), path)
	}
	for _, open := range l.including {
		if open == filepath.Clean(path) {
			l.mistake(item.at, "", "%s includes itself", brief(item.text))
			return nil
		}
	}
	if !isProfile {
		var ok bool
		if text, _, ok = l.open(path, item.at); !ok {
			return nil
		}
	}
	return l.read(path, text)
}

// open reads a further file of the policy, named at a position, and returns
// whom it belongs to.
func (l *loader) open(path string, at plan.Position) (text string, uid uint32, ok bool) {
	if l.files >= mostFiles {
		l.mistake(at, "", "the policy has more than %d files", mostFiles)
		return "", 0, false
	}
	text, uid, err := readBounded(path)
	if err != nil {
		l.mistake(at, "", "%s: %s", path, reason(err))
		return "", 0, false
	}
	return text, uid, true
}

// DropInDirectory is where the drop-ins of a policy file are.
func DropInDirectory(path string) string { return filepath.Join(filepath.Dir(path), "policy.d") }

// dropIns merges policy.d/*.yaml, in the order of their names, over the file
// that they stand beside. A drop-in that names another application is for that
// one: several policies may share a directory.
//
// Nobody names a drop-in, so anybody who can write the directory could give an
// application rights (think of a policy in /tmp, run by root): it must belong
// to root, to whoever runs this, or to the owner of the policy.
//
// The texts of given stand for files, whether they are there or not.
func (l *loader) dropIns(path string, policyOwner uint32, root *node, given map[string]string) *node {
	found, err := filepath.Glob(filepath.Join(DropInDirectory(path), "*.yaml"))
	if err != nil || root.kind != mapNode {
		return root
	}
	for name := range given {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	sort.Strings(found)
	application := root.get("application")
	for _, name := range found {
		text, replaced := given[name]
		uid, ok := policyOwner, true
		if !replaced {
			text, uid, ok = l.open(name, plan.Position{File: path})
		}
		if !ok {
			continue
		}
		if uid != 0 && uid != policyOwner && uid != uint32(os.Geteuid()) {
			l.mistake(plan.Position{File: name}, "remove it, or make it your own with chown", "the drop-in belongs to another user (%d)", uid)
			continue
		}
		part := l.read(name, text)
		if part == nil {
			continue
		}
		if other := part.get("application"); other != nil && application != nil && other.text != application.text {
			continue
		}
		root = merge(root, part, "")
	}
	return root
}

// readBounded reads a regular file that is no larger than a policy may be. The
// kind is checked on the open file: a FIFO would block, a device never end.
func readBounded(path string) (text string, uid uint32, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() {
		return "", 0, errors.New("it is not a regular file")
	}
	uid, _, _ = owner(info)
	content, err := io.ReadAll(io.LimitReader(file, documentBytes+1))
	return string(content), uid, err
}
