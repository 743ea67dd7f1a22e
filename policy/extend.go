package policy

import (
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"bulkhead/policy/plan"
	"bulkhead/profiles"
)

// deepest is how many profiles may extend one another.
const deepest = 16

// extendAll merges every component over what it extends.
func (l *loader) extendAll(root *node) *node {
	components := root.get("components")
	if components == nil || components.kind != mapNode {
		return root
	}
	result := &node{kind: mapNode, at: components.at}
	grants := root.get("grants")
	for _, p := range components.pairs {
		if p.value.kind == mapNode {
			e := &extension{loader: l, component: p.key, from: p.value.at.File, grants: grants}
			p.value = e.extend(p.value, p.value.at.File, nil)
			grants = e.grants
		}
		result.pairs = append(result.pairs, p)
	}
	whole := &node{kind: mapNode, at: root.at}
	seen := false
	for _, p := range root.pairs {
		switch p.key {
		case "components":
			p.value = result
		case "grants":
			p.value, seen = grants, true
		}
		whole.pairs = append(whole.pairs, p)
	}
	if !seen && grants != nil {
		whole.pairs = append(whole.pairs, pair{key: "grants", at: grants.at, value: grants})
	}
	return whole
}

// extension resolves the extends: of one component.
type extension struct {
	*loader
	component string
	from      string
	grants    *node // of the whole policy, profiles' ones added
}

// extend returns component merged over all that it extends, in the order of
// the list. file is where component was written, stack what extends it.
func (e *extension) extend(component *node, file string, stack []string) *node {
	extends := component.get("extends")
	if extends == nil {
		return component
	}
	var base *node
	for _, item := range normalize(extends, "extends").items {
		if item.kind != scalarNode || !item.quoted && looksBoolean(item.text) {
			continue // the decoder reports it
		}
		if found := e.find(item, file, stack); found != nil {
			e.extended[e.component] = append(e.extended[e.component], item.text)
			base = merge(base, found, "")
		}
	}
	if base == nil {
		return component
	}
	return merge(base, component, "")
}

// find returns the component that one item of extends: names.
func (e *extension) find(item *node, file string, stack []string) *node {
	source, wanted, _ := strings.Cut(item.text, "#")
	root, identity := e.profile(source, file, item.at)
	if root == nil {
		return nil
	}
	identity += "#" + wanted
	for _, open := range stack {
		if open == identity {
			e.mistake(item.at, "", "%s extends itself", brief(item.text))
			return nil
		}
	}
	if len(stack) >= deepest {
		e.mistake(item.at, "", "profiles extend profiles more than %d deep", deepest)
		return nil
	}
	// A profile's variables are defaults: those of the policy win.
	values := e.collectVariables(root, e.variables)
	root = values.resolveTree(e.reporter, root)
	components := root.get("components")
	name, component := choose(components, wanted, strings.TrimSuffix(path.Base(source), ".yaml"))
	if component == nil {
		hint := ""
		if components != nil && components.kind == mapNode {
			var names []string
			for _, p := range components.pairs {
				names = append(names, source+"#"+p.key)
			}
			hint = "it has " + strings.Join(names, ", ")
		}
		e.mistake(item.at, hint, "%s does not say which component is meant", brief(item.text))
		return nil
	}
	if component.kind != mapNode {
		e.mistake(component.at, "", "the component %q is not a map", name)
		return nil
	}
	e.bringGrants(root, component, item.at)
	return e.extend(component, root.at.File, append(stack, identity))
}

// choose returns the component that is wanted: the one of that name, else the
// one named as the profile, else the only one.
func choose(components *node, wanted, profile string) (string, *node) {
	if components == nil || components.kind != mapNode {
		return "", nil
	}
	if wanted != "" {
		return wanted, components.get(wanted)
	}
	if same := components.get(profile); same != nil {
		return profile, same
	}
	if len(components.pairs) == 1 {
		return components.pairs[0].key, components.pairs[0].value
	}
	return "", nil
}

// bringGrants adds the grants that a profile's component uses. What the policy
// says of a grant of the same name wins.
func (e *extension) bringGrants(root, component *node, at plan.Position) {
	uses := component.get("grants")
	if uses == nil {
		return
	}
	for _, use := range normalize(uses, "grants").items {
		name := use.text
		if use.kind == mapNode && len(use.pairs) == 1 {
			name = use.pairs[0].key
		}
		grant := root.get("grants").get(name)
		if grant == nil {
			continue // the compiler reports it
		}
		if own := e.grants.get(name); own != nil && own.at.File != e.from && own.at.File != grant.at.File && e.library[own.at.File] != nil {
			e.mistake(at, "say under grants: what it is", "two profiles, %s and %s, have a grant %q", own.at.File, grant.at.File, name)
			continue
		}
		one := &node{kind: mapNode, at: grant.at, pairs: []pair{{key: name, at: grant.at, value: grant}}}
		if e.grants == nil {
			e.grants = one
		} else if own := e.grants.get(name); own == nil || own.at.File != grant.at.File {
			e.grants = merge(one, e.grants, "")
		}
	}
}

// profile returns the tree of a profile and what identifies it. A name with a
// slash is a file, relative to the file that extends it.
func (e *extension) profile(name, from string, at plan.Position) (*node, string) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".yaml") {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(from), file)
		}
		if root, known := e.library[file]; known {
			return root, file
		}
		text, _, ok := e.open(file, at)
		if !ok {
			return nil, ""
		}
		e.library[file] = e.read(file, text)
		return e.library[file], file
	}
	file := profileFile(name)
	if root, known := e.library[file]; known {
		return root, file
	}
	text, known := profileText(name)
	if !known {
		e.mistake(at, suggestion(name, ProfileNames()), "no profile is named %q", brief(name))
		return nil, ""
	}
	e.library[file] = e.read(file, text)
	return e.library[file], file
}

// profileFile is what messages call a profile of the binary.
func profileFile(name string) string { return "profiles/" + name + ".yaml" }

func profileText(name string) (text string, known bool) {
	b, err := fs.ReadFile(profiles.FS, name+".yaml")
	return string(b), err == nil
}

// ProfileNames returns the names of the profiles in the binary.
func ProfileNames() []string {
	files, err := fs.Glob(profiles.FS, "*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(file, ".yaml")
	}
	sort.Strings(names)
	return names
}
