package policy

import (
	"fmt"
	"reflect"
	"strings"
)

// decoder fills the types of language.go from a tree and reports every mistake
// on the way.
type decoder struct {
	*reporter
}

// custom is a type that can be written in more than one way.
type custom interface {
	decode(d *decoder, n *node, tag reflect.StructTag)
}

// mapping is the part of Map[T] that does not depend on T.
type mapping interface {
	decodeMap(d *decoder, n *node, tag reflect.StructTag)
}

// decode fills target, which must be settable, from n.
func (d *decoder) decode(target reflect.Value, n *node, tag reflect.StructTag) {
	switch t := target.Addr().Interface().(type) {
	case custom:
		t.decode(d, n, tag)
		return
	case mapping:
		t.decodeMap(d, n, tag)
		return
	}
	switch target.Kind() {
	case reflect.Slice:
		d.list(target, n, tag)
	case reflect.Struct:
		d.structure(target, n)
	default:
		panic("policy: language.go has a type that the decoder does not know: " + target.Type().String())
	}
}

func (d *decoder) list(target reflect.Value, n *node, tag reflect.StructTag) {
	if n.kind == mapNode && len(n.pairs) == 1 && n.pairs[0].key == "replace" {
		n = n.pairs[0].value
	}
	items := n.items
	if n.kind != listNode {
		if n.kind == nullNode || tag.Get("single") == "" && n.kind != listNode {
			d.wrongKind(n, "a list", `write [`+listExample(n)+`]`)
			return
		}
		items = []*node{n}
	}
	for _, item := range items {
		element := reflect.New(target.Type().Elem()).Elem()
		if item.broken {
			continue
		}
		before := len(d.problems)
		d.decode(element, item, tag)
		if len(d.problems) == before {
			target.Set(reflect.Append(target, element))
		}
	}
}

func listExample(n *node) string {
	if n.kind == scalarNode && n.text != "" {
		return brief(strings.Join(strings.Fields(n.text), ", "))
	}
	return "a, b"
}

// structure decodes a map with known keys.
func (d *decoder) structure(target reflect.Value, n *node) {
	if n.kind != mapNode {
		d.wrongKind(n, "a map", "write "+strings.Join(first(keyNames(target.Type()), 3), ": …, ")+": …")
		return
	}
	d.fields(target, n)
}

func (d *decoder) fields(target reflect.Value, n *node) {
	fields := keyFields(target.Type())
	if place := target.FieldByName("Position"); place.IsValid() {
		place.Set(reflect.ValueOf(n.at))
	}
	misspelt := map[string]bool{}
	for _, p := range n.pairs {
		field, known := fields[p.key]
		if !known {
			misspelt[nearest(p.key, keyNames(target.Type()))] = true
			d.mistake(p.at, suggestion(p.key, keyNames(target.Type())), "unknown key %q", brief(p.key))
			continue
		}
		if p.value.kind == nullNode {
			d.mistake(p.at, "give it a value, or remove the key", "the key %q has no value", p.key)
			continue
		}
		d.decode(target.FieldByIndex(field.Index), p.value, field.Tag)
	}
	for _, name := range keyNames(target.Type()) {
		field := fields[name]
		if field.Tag.Get("needed") != "" && n.get(name) == nil && !misspelt[name] {
			d.mistake(n.at, "add "+name+": "+exampleOf(field), "the key %q is missing", name)
		}
	}
}

func exampleOf(field reflect.StructField) string {
	switch field.Type {
	case reflect.TypeFor[Map[Component]]():
		return "{NAME: {command: [/usr/bin/PROGRAM]}}"
	case reflect.TypeFor[Number]():
		return "0"
	}
	if field.Tag.Get("kind") == "path" {
		return "/PATH"
	}
	return "NAME"
}

// keyFields returns the fields of a struct by their keys, embedded ones too.
func keyFields(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, field := range reflect.VisibleFields(t) {
		if key := field.Tag.Get("key"); key != "" {
			fields[key] = field
		}
	}
	return fields
}

// keyNames returns the keys of a struct in their order.
func keyNames(t reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		if key := field.Tag.Get("key"); key != "" {
			names = append(names, key)
		}
	}
	return names
}

func first(list []string, n int) []string { return list[:min(n, len(list))] }

func (d *decoder) wrongKind(n *node, want, hint string) {
	d.mistake(n.at, hint, "%s is expected here, not %s", want, n.word())
}

// decodeMap decodes a map whose keys the policy chooses.
func (m *Map[T]) decodeMap(d *decoder, n *node, tag reflect.StructTag) {
	if n.kind != mapNode {
		d.wrongKind(n, "a map", "write NAME: …")
		return
	}
	m.Position = n.at
	for _, p := range n.pairs {
		wrong, hint := "", nameHint
		if tag.Get("keys") == "path" {
			wrong, hint = checkPath(p.key)
		} else if !nameWord(p.key) {
			wrong = fmt.Sprintf("%q cannot be a name", brief(p.key))
		}
		if wrong != "" {
			d.mistake(p.at, hint, "%s", wrong)
			continue
		}
		if p.value.kind == nullNode {
			d.mistake(p.at, "give it a value, or remove it", "%q has no value", p.key)
			continue
		}
		entry := MapEntry[T]{Name: p.key, Position: p.at}
		d.decode(reflect.ValueOf(&entry.Value).Elem(), p.value, tag)
		m.Entries = append(m.Entries, entry)
	}
}

func (u *PathUse) decode(d *decoder, n *node, tag reflect.StructTag) {
	if n.kind == scalarNode {
		u.Path.decode(d, n, `kind:"path"`)
		return
	}
	d.structure(reflect.ValueOf(u).Elem(), n)
}

func (u *TemporaryUse) decode(d *decoder, n *node, tag reflect.StructTag) {
	if n.kind == scalarNode {
		u.Path.decode(d, n, `kind:"path"`)
		return
	}
	d.structure(reflect.ValueOf(u).Elem(), n)
}

func (u *GrantUse) decode(d *decoder, n *node, tag reflect.StructTag) {
	if setting := d.named(&u.Name, n, "the name of a grant", "write NAME, {NAME: {number: 5}} or {NAME: {at-start: false}}"); setting != nil {
		d.structure(reflect.ValueOf(&u.Setting).Elem(), setting)
	}
}

func (u *AfterUse) decode(d *decoder, n *node, tag reflect.StructTag) {
	if how := d.named(&u.Name, n, "the name of a component", "write NAME or {NAME: tried}, and several in a list: [store, {cache: tried}]"); how != nil {
		d.decode(reflect.ValueOf(&u.How).Elem(), how, afterTag)
	}
}

// named reads NAME or {NAME: …}, and returns what is there behind the name: nil for
// nothing, or a mistake.
func (d *decoder) named(name *Text, n *node, what, hint string) *node {
	if n.kind == scalarNode {
		name.decode(d, n, `kind:"name"`)
		return nil
	}
	if n.kind != mapNode || len(n.pairs) != 1 {
		d.wrongKind(n, what, hint)
		return nil
	}
	name.decode(d, &node{kind: scalarNode, at: n.pairs[0].at, text: n.pairs[0].key}, `kind:"name"`)
	return n.pairs[0].value
}

func (u *SyscallUse) decode(d *decoder, n *node, tag reflect.StructTag) {
	u.Position = n.at
	switch {
	case n.kind == scalarNode:
		u.Name.decode(d, n, "")
	case n.kind == mapNode && n.get("deny") != nil:
		denial := SyscallDenial{}
		d.structure(reflect.ValueOf(&denial).Elem(), n)
		u.Deny = denial.Deny
	default:
		if n.kind != mapNode {
			d.wrongKind(n, "a system call", "write a name, a @group, {call: NAME, argument: 1, equal: 0x5401} or {deny: [NAME]}")
			return
		}
		d.structure(reflect.ValueOf(&u.Call).Elem(), n)
	}
}

func (e *Environment) decode(d *decoder, n *node, tag reflect.StructTag) {
	switch n.kind {
	case mapNode:
		for _, p := range n.pairs {
			variable := EnvironmentVariable{Name: p.key, Position: p.at}
			if !environmentName(p.key) {
				d.mistake(p.at, "letters, digits and _, not a digit first", "%q cannot be the name of a variable", brief(p.key))
				continue
			}
			switch p.value.kind {
			case mapNode:
				d.structure(reflect.ValueOf(&variable.Source).Elem(), p.value)
				if len(p.value.pairs) == 0 {
					d.mistake(p.value.at, "write {from-file: PATH} or {inherit: true}", "%s has no source", p.key)
				}
			case nullNode:
				d.mistake(p.at, `write `+p.key+`: "" for an empty one`, "%s has no value", p.key)
				continue
			default:
				variable.Value.decode(d, p.value, "")
			}
			e.Variables = append(e.Variables, variable)
		}
	case listNode:
		for _, item := range n.items {
			var name Text
			before := len(d.problems)
			name.decode(d, item, "")
			if len(d.problems) > before {
				continue
			}
			if !environmentName(name.Value) {
				hint := "letters, digits and _, not a digit first"
				if key, value, ok := strings.Cut(name.Value, "="); ok && environmentName(key) {
					hint = "write a map: environment: {" + key + ": \"" + value + "\"}"
				}
				d.mistake(item.at, hint, "%q cannot be the name of a variable", brief(name.Value))
				continue
			}
			e.Variables = append(e.Variables, EnvironmentVariable{Name: name.Value, Position: item.at,
				Source: EnvironmentSource{Inherit: Flag{Value: true, Position: item.at}}})
		}
	default:
		d.wrongKind(n, "a map or a list", "write {NAME: value}, or [NAME] to inherit it")
	}
}

func (r *ReadySetting) decode(d *decoder, n *node, tag reflect.StructTag) {
	r.Position = n.at
	if n.kind == scalarNode {
		r.Word.decode(d, n, `values:"at-once|notify"`)
		return
	}
	if n.kind == mapNode && len(n.pairs) != 1 {
		d.mistake(n.at, "write one of {fd: N}, {connect: GRANT}, {command: […]}", "ready is shown in one way")
		return
	}
	d.structure(reflect.ValueOf(&r.How).Elem(), n)
}

func (r *PassRule) decode(d *decoder, n *node, tag reflect.StructTag) {
	r.Position = n.at
	if n.kind == scalarNode {
		r.Word.decode(d, n, `values:"all|none"`)
		return
	}
	d.list(reflect.ValueOf(&r.Patterns).Elem(), n, "")
}

func (l *LogSetting) decode(d *decoder, n *node, tag reflect.StructTag) {
	l.Position = n.at
	if n.kind == scalarNode {
		l.Word.decode(d, n, `values:"terminal|journald"`)
		return
	}
	d.structure(reflect.ValueOf(&l.How).Elem(), n)
}

// decodeFile decodes a whole policy.
func decodeFile(root *node, r *reporter) File {
	var file File
	d := &decoder{reporter: r}
	if root.kind != mapNode {
		d.wrongKind(root, "a map", "a policy starts with application: NAME")
		return file
	}
	d.structure(reflect.ValueOf(&file).Elem(), root)
	return file
}
