package policy

import (
	"strings"

	"bulkhead/policy/plan"
)

// mostText bounds a text after its variables are filled in: variables of
// variables grow as aliases of aliases do.
const mostText = 128 << 10

// variables are the values of ${name}.
type variables map[string]*variable

type variable struct {
	text    string
	at      plan.Position
	used    bool
	foreign bool // of a profile, where it is a default that nobody need use
}

// collectVariables reads the variables: of a tree; those of outer win.
func (l *loader) collectVariables(root *node, outer variables) variables {
	found := variables{}
	for name, v := range outer {
		found[name] = v
	}
	section := root.get("variables")
	if section == nil || section.kind != mapNode {
		return found
	}
	for _, p := range section.pairs {
		if p.value.kind != scalarNode {
			continue // the decoder reports it
		}
		if v, known := outer[p.key]; known {
			v.used = true // it overrides the profile's, which is a use
			continue
		}
		// A variable may use those that stand before it: so there are no cycles.
		value := found.resolve(l.reporter, p.value)
		found[p.key] = &variable{text: value.text, at: p.at, foreign: outer != nil}
	}
	return found
}

// resolveTree returns a tree with all variables filled in.
func (v variables) resolveTree(r *reporter, n *node) *node {
	switch n.kind {
	case scalarNode:
		return v.resolve(r, n)
	case listNode:
		list := *n
		list.items = make([]*node, len(n.items))
		for i, item := range n.items {
			list.items[i] = v.resolveTree(r, item)
		}
		return &list
	case mapNode:
		m := *n
		m.pairs = make([]pair, len(n.pairs))
		for i, p := range n.pairs {
			// The variables themselves are resolved where they are collected.
			if p.key != "variables" {
				p.value = v.resolveTree(r, p.value)
			}
			m.pairs[i] = p
		}
		return &m
	}
	return n
}

// resolve fills in the variables of one scalar; $${ stands for ${ itself.
func (v variables) resolve(r *reporter, n *node) *node {
	if n.resolved || !strings.Contains(n.text, "${") {
		return n
	}
	result := *n
	result.resolved = true
	var b strings.Builder
	rest := n.text
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			b.WriteString(rest)
			break
		}
		if escaped, isEscape := strings.CutSuffix(before, "$"); isEscape {
			b.WriteString(escaped + "${")
			rest = after
			continue
		}
		b.WriteString(before)
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			r.mistake(n.at, "write ${NAME}, or $${ for the two characters", "${ without a }")
			result.broken = true
			return &result
		}
		value, known := v[name]
		if !known {
			r.mistake(n.at, suggestion(name, keysOf(v)), "no variable is named %q", brief(name))
			result.broken = true
			return &result
		}
		value.used = true
		b.WriteString(value.text)
		if b.Len() > mostText {
			r.mistake(n.at, "", "the text is longer than %d bytes after its variables are filled in", mostText)
			return &result
		}
		rest = tail
	}
	result.text = b.String()
	return &result
}

// warnUnused warns of variables without a use, unless there are mistakes: a
// misspelt use would be reported twice.
func (v variables) warnUnused(r *reporter) {
	if _, mistakes := split(r.problems); len(mistakes) > 0 {
		return
	}
	for name, value := range v {
		if !value.used && !value.foreign {
			r.warn(value.at, "remove it, or write ${"+name+"} where it belongs", "nothing uses the variable %q", name)
		}
	}
}
