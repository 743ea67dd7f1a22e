package policy

import (
	"strings"

	"bulkhead/policy/plan"
)

// overridesName stands for the file in the positions of --set values.
const overridesName = "--set"

// overrides merges "key.key=value" texts over the tree, in their order.
func (l *loader) overrides(root *node, set []string) *node {
	if len(set) == 0 {
		return root
	}
	l.sources.add(overridesName, strings.Join(set, "\n"))
	for i, text := range set {
		at := plan.Position{File: overridesName, Line: i + 1, Column: 1}
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			l.mistake(at, "write --set components.web.limits.memory=64M, or --set NAME=VALUE for a variable", "%q has no value", brief(text))
			continue
		}
		keys := strings.Split(key, ".")
		if len(keys) == 1 && root.get("variables").get(key) != nil {
			keys = []string{"variables", key}
		}
		parsed := l.overrideValue(at, value, len([]rune(key))+2)
		if parsed == nil {
			continue
		}
		column := len([]rune(key)) + 1
		for k := len(keys) - 1; k >= 0; k-- {
			column -= len([]rune(keys[k])) + 1
			keyAt := at
			keyAt.Column = column + 1
			parsed = &node{kind: mapNode, at: keyAt, pairs: []pair{{key: keys[k], at: keyAt, value: parsed}}}
		}
		root = merge(root, parsed, "")
	}
	return root
}

// overrideValue reads the value as YAML, so that lists and maps in brackets
// work too. An empty value is an empty text.
func (l *loader) overrideValue(at plan.Position, value string, column int) *node {
	if value == "" {
		at.Column = column - 1
		return &node{kind: scalarNode, at: at, quoted: true}
	}
	before := len(l.problems)
	parsed := readDocument(overridesName, value, l.reporter)
	for i := before; i < len(l.problems); i++ {
		l.problems[i].Position.Line, l.problems[i].Position.Column = at.Line, column
	}
	if parsed != nil {
		shift(parsed, at.Line, column)
	}
	return parsed
}

// shift moves the positions of a one-line document to where it stands.
func shift(n *node, line, column int) {
	move := func(at *plan.Position) {
		at.Column += column - 1
		at.Line = line
	}
	move(&n.at)
	for _, item := range n.items {
		shift(item, line, column)
	}
	for i := range n.pairs {
		move(&n.pairs[i].at)
		shift(n.pairs[i].value, line, column)
	}
}
