package policy

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"

	"bulkhead/policy/plan"
)

// ChangesOf says in words what is different about a component in two plans.
// Unlike Diff it needs no policy of before, which a running application has
// not any more, and names everything, not only what is power.
func ChangesOf(before *plan.Plan, i int, after *plan.Plan, k int) []string {
	was, is := before.Components[i], after.Components[k]
	var all []string
	say := func(format string, values ...any) { all = append(all, fmt.Sprintf(format, values...)) }
	each(entryWords(was.Root), entryWords(is.Root), func(sign, text string) { say("files: %s %s", sign, text) })
	each(ruleWords(was.Syscalls.Rules), ruleWords(is.Syscalls.Rules), func(sign, text string) { say("system calls: %s %s", sign, text) })
	each(bindingWords(before, was.Grants), bindingWords(after, is.Grants), func(sign, text string) { say("grants: %s %s", sign, text) })
	each(was.Environment, is.Environment, func(sign, text string) {
		name, _, _ := strings.Cut(text, "=") // its value may be a secret
		say("environment: %s %s", sign, name)
	})
	if was.Syscalls.Default != is.Syscalls.Default {
		say("system calls: another answer to what no rule names")
	}
	// What has its words above, or says nothing by itself.
	for _, c := range []*plan.Component{&was, &is} {
		c.Root, c.Syscalls, c.Grants, c.Environment = nil, plan.Syscalls{}, nil, nil
		c.Position, c.Generation, c.Number, c.Life.Ready.Grant, c.Life.Health.Grant = plan.Position{}, 0, 0, 0, 0
	}
	fields(reflect.ValueOf(was), reflect.ValueOf(is), "", say)
	return compact(all)
}

// each tells what only one of two lists has.
func each(before, after []string, tell func(sign, text string)) {
	for _, text := range before {
		if !slices.Contains(after, text) {
			tell("-", text)
		}
	}
	for _, text := range after {
		if !slices.Contains(before, text) {
			tell("+", text)
		}
	}
}

func entryWords(entries []plan.Entry) []string {
	var all []string
	for _, e := range entries {
		text := e.Target
		if e.Kind == plan.EntryBind || e.Kind == plan.EntryDevice {
			text = accessWords(e.Access) + " " + text
		}
		if e.Kind == plan.EntryBind && e.Source != e.Target {
			text += " from " + e.Source
		}
		if e.Size != 0 {
			text += " of at most " + sizeText(e.Size)
		}
		if e.Kind == plan.EntryData {
			text += " with content " + shortHash(e.Content)
		}
		all = append(all, text)
	}
	return all
}

func ruleWords(rules []plan.Rule) []string {
	var all []string
	for _, r := range rules {
		text := r.Call
		switch r.Action {
		case plan.Errno, plan.Refuse:
			text += " refused"
		case plan.Broker:
			text += " performed by the monitor"
		case plan.Kill:
			text += " deadly"
		}
		if len(r.Conditions) > 0 {
			b, _ := json.Marshal(r.Conditions)
			text += " in case " + shortHash(string(b))
		}
		all = append(all, text)
	}
	return all
}

func bindingWords(p *plan.Plan, bindings []plan.Binding) []string {
	var all []string
	for _, b := range bindings {
		g := p.Grants[b.Grant]
		g.Position = plan.Position{}
		text := g.Name + " (" + GrantText(&g) + ")"
		if b.Number >= 0 {
			text += fmt.Sprintf(" as descriptor %d", b.Number)
		}
		all = append(all, text)
	}
	return all
}

// shortHash tells apart what is too long to be shown.
func shortHash(text string) string {
	h := fnv.New32a()
	h.Write([]byte(text))
	return fmt.Sprintf("#%08x", h.Sum32())
}

// fields says which fields of two structs differ, by the plan's words.
func fields(was, is reflect.Value, path string, say func(string, ...any)) {
	for i := range was.NumField() {
		a, b := was.Field(i), is.Field(i)
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		name, _, _ := strings.Cut(was.Type().Field(i).Tag.Get("json"), ",")
		if path != "" {
			name = path + "." + name
		}
		if a.Kind() == reflect.Struct {
			fields(a, b, name, say)
			continue
		}
		say("%s: %s -> %s", name, plainText(name, a), plainText(name, b))
	}
}

func plainText(name string, v reflect.Value) string {
	switch name {
	case "limits.memory", "limits.swap", "limits.file-size", "limits.core-size", "limits.locked":
		return sizeText(v.Uint())
	case "umask":
		return fmt.Sprintf("%04o", v.Uint())
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	b, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Sprint(v.Interface())
	}
	return string(b)
}

// compact writes many changes of one kind in one line.
func compact(all []string) []string {
	var lines []string
	for _, text := range all {
		kind, rest, _ := strings.Cut(text, ": ")
		if n := len(lines) - 1; n >= 0 && (strings.HasPrefix(rest, "+ ") || strings.HasPrefix(rest, "- ")) && strings.HasPrefix(lines[n], kind+": "+rest[:2]) {
			lines[n] += ", " + rest[2:]
			continue
		}
		lines = append(lines, text)
	}
	return lines
}
