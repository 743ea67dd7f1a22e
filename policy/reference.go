package policy

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// ReferenceParts are the names of the tables that WriteReference writes.
func ReferenceParts() []string {
	return []string{"file", "grant", "component", "files", "limits", "workers", "health", "logs", "supervision", "control", "syscall condition", "defaults", "groups", "lint"}
}

// WriteReference writes one table of docs/policy.md, from the types that the
// decoder fills: so the reference cannot differ from the language.
func WriteReference(w io.Writer, part string) error {
	out := &wordWriter{to: w}
	switch part {
	case "file":
		keyTable(out, reflect.TypeFor[File]())
	case "grant":
		keyTable(out, reflect.TypeFor[Grant]())
	case "component":
		keyTable(out, reflect.TypeFor[Component]())
	case "files":
		keyTable(out, reflect.TypeFor[Files]())
	case "limits":
		keyTable(out, reflect.TypeFor[LimitSettings]())
	case "workers":
		keyTable(out, reflect.TypeFor[WorkerSettings]())
	case "health":
		keyTable(out, reflect.TypeFor[HealthSetting]())
	case "logs":
		keyTable(out, reflect.TypeFor[LogFile]())
	case "supervision":
		keyTable(out, reflect.TypeFor[SupervisionSetting]())
	case "names":
		keyTable(out, reflect.TypeFor[NameSetting]())
	case "control":
		keyTable(out, reflect.TypeFor[ControlSetting]())
	case "syscall condition":
		keyTable(out, reflect.TypeFor[SyscallCondition]())
	case "defaults":
		out.line("| key | default | why |")
		out.line("| --- | --- | --- |")
		for _, d := range Defaults() {
			out.line("| `%s` | %s | %s |", d.Key, d.Value, d.Why)
		}
	case "groups":
		out.line("| group | what it is for | calls |")
		out.line("| --- | --- | --- |")
		for _, group := range callGroups {
			out.line("| `@%s` | %s | %s |", group.name, group.doc, strings.Join(callsOf[group.name], " "))
		}
	case "lint":
		out.line("| rule | what it looks for |")
		out.line("| --- | --- |")
		for _, rule := range LintRules() {
			out.line("| `%s` | %s |", rule[0], rule[1])
		}
	default:
		return fmt.Errorf("the reference has no part %q", part)
	}
	return out.err
}

func keyTable(out *wordWriter, t reflect.Type) {
	out.line("| key | value | meaning |")
	out.line("| --- | --- | --- |")
	fields := keyFields(t)
	for _, name := range keyNames(t) {
		field := fields[name]
		out.line("| `%s` | %s | %s |", name, valueWord(field.Type, field.Tag), field.Tag.Get("doc"))
	}
}

// valueWord says in a word or two what a key takes.
func valueWord(t reflect.Type, tag reflect.StructTag) string {
	if values := tag.Get("values"); values != "" {
		words := "`" + strings.ReplaceAll(values, "|", "`, `") + "`"
		switch {
		case t.Kind() == reflect.Slice:
			return "list of " + words
		case t == reflect.TypeFor[Map[Text]]():
			return "map to " + words
		}
		return words
	}
	switch t {
	case reflect.TypeFor[Text]():
		if kind := tag.Get("kind"); kind != "" {
			return map[string]string{"path": "path", "name": "name", "source": "file", "address": "address", "signal": "signal", "word64": "number"}[kind]
		}
		return "text"
	case reflect.TypeFor[Flag]():
		return "`true`, `false`"
	case reflect.TypeFor[Number]():
		return "number, " + tag.Get("min") + " to " + tag.Get("max")
	case reflect.TypeFor[Size]():
		return "size: `64K`, `64M`, `1G`"
	case reflect.TypeFor[Percent]():
		return "`50%`"
	case reflect.TypeFor[Octal]():
		return "octal: `0640`"
	case reflect.TypeFor[Duration]():
		return "time: `500ms`, `2s`, `5m`, `1h`, `7d`"
	case reflect.TypeFor[Environment]():
		return "map or list"
	case reflect.TypeFor[ReadySetting](), reflect.TypeFor[LogSetting]():
		return "word or map"
	case reflect.TypeFor[[]PathUse](), reflect.TypeFor[[]TemporaryUse]():
		return "list of paths"
	}
	if t.Kind() == reflect.Slice {
		return "list"
	}
	return "map"
}
