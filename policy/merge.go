package policy

import "reflect"

// merge lays over on base and returns a new tree:
//
//   - maps merge key by key;
//   - lists add: those of base first;
//   - of everything else, over wins;
//   - a list written as {replace: […]} replaces, and so do command and ready,
//     of which a half makes no sense.
//
// key is the key that both stand under.
func merge(base, over *node, key string) *node {
	over = normalize(over, key)
	if base == nil {
		return over
	}
	base = normalize(base, key)
	switch {
	case over.replaces || wholeKeys[key]:
		return over
	case base.kind == listNode && over.kind == listNode:
		both := &node{kind: listNode, at: over.at}
		both.items = append(append(both.items, base.items...), over.items...)
		return both
	case base.kind == mapNode && over.kind == mapNode:
		both := &node{kind: mapNode, at: over.at}
		for _, p := range base.pairs {
			if other := over.get(p.key); other == nil {
				both.pairs = append(both.pairs, p)
			}
		}
		for _, p := range over.pairs {
			name := p.key
			if key == "pass" {
				name = "pass." + name // its environment is not the component's
			}
			p.value = merge(base.get(p.key), p.value, name)
			both.pairs = append(both.pairs, p)
		}
		return both
	}
	return over
}

// normalize brings the short forms of a value into the long one, so that a
// short and a long one can be merged.
func normalize(n *node, key string) *node {
	switch {
	case n.kind == mapNode && len(n.pairs) == 1 && n.pairs[0].key == "replace" && n.pairs[0].value.kind == listNode:
		list := *n.pairs[0].value
		list.replaces = true
		return &list
	case n.kind == scalarNode && singleKeys[key]:
		return &node{kind: listNode, at: n.at, items: []*node{n}}
	case n.kind == listNode && key == "environment":
		inherited := &node{kind: mapNode, at: n.at}
		for _, item := range n.items {
			if item.kind != scalarNode || !environmentName(item.text) {
				return n // the decoder says what is wrong with it
			}
			yes := &node{kind: scalarNode, at: item.at, text: "true"}
			inherited.pairs = append(inherited.pairs, pair{key: item.text, at: item.at,
				value: &node{kind: mapNode, at: item.at, pairs: []pair{{key: "inherit", at: item.at, value: yes}}}})
		}
		return inherited
	}
	return n
}

// wholeKeys and singleKeys are the keys with those tags in language.go.
var wholeKeys, singleKeys = func() (whole, single map[string]bool) {
	whole, single = map[string]bool{}, map[string]bool{}
	for _, t := range []reflect.Type{reflect.TypeFor[File](), reflect.TypeFor[Component](), reflect.TypeFor[Files](), reflect.TypeFor[PassSetting]()} {
		for key, field := range keyFields(t) {
			if t == reflect.TypeFor[PassSetting]() {
				key = "pass." + key
			}
			whole[key] = whole[key] || field.Tag.Get("whole") != ""
			single[key] = single[key] || field.Tag.Get("single") != ""
		}
	}
	return whole, single
}()
