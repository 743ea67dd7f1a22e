package policy

import (
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// jsonObject is a JSON object; encoding/json sorts its keys.
type jsonObject map[string]any

// schemed is a type that can be written in more than one way, and knows how.
type schemed interface {
	schema(tag reflect.StructTag) jsonObject
}

// WriteSchema writes the JSON Schema of policy files, for editors. It is
// generated from the types that the decoder fills.
func WriteSchema(w io.Writer) error {
	schema := schemaOf(reflect.TypeFor[File](), "")
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Bulkhead policy"
	// Includes and drop-ins hold parts of a policy, so nothing is required of
	// a file by itself; the compiler says what is missing of the whole.
	delete(schema, "required")
	schema["definitions"] = jsonObject{"supervision": structSchema(reflect.TypeFor[SupervisionSetting]())}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(schema)
}

// schemaOf returns the schema of a type of language.go.
func schemaOf(t reflect.Type, tag reflect.StructTag) jsonObject {
	if s, ok := reflect.New(t).Interface().(schemed); ok {
		return s.schema(tag)
	}
	switch t.Kind() {
	case reflect.Slice:
		return listSchema(schemaOf(t.Elem(), tag), tag)
	case reflect.Struct:
		if t == reflect.TypeFor[SupervisionSetting]() {
			return jsonObject{"$ref": "#/definitions/supervision"} // groups hold groups
		}
		return structSchema(t)
	}
	panic("policy: language.go has a type that the schema does not know: " + t.String())
}

func structSchema(t reflect.Type) jsonObject {
	properties := jsonObject{}
	var required []string
	fields := keyFields(t)
	for _, name := range keyNames(t) {
		field := fields[name]
		property := schemaOf(field.Type, field.Tag)
		if doc := field.Tag.Get("doc"); doc != "" {
			if _, isReference := property["$ref"]; isReference {
				property = jsonObject{"allOf": []jsonObject{property}} // keys beside $ref are ignored
			}
			property["description"] = doc
		}
		properties[name] = property
		if field.Tag.Get("needed") != "" {
			required = append(required, name)
		}
	}
	schema := jsonObject{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func listSchema(items jsonObject, tag reflect.StructTag) jsonObject {
	array := jsonObject{"type": "array", "items": items}
	replace := jsonObject{"type": "object", "properties": jsonObject{"replace": array}, "required": []string{"replace"}, "additionalProperties": false}
	forms := []jsonObject{array, replace}
	if tag.Get("single") != "" {
		forms = append(forms, items)
	}
	return jsonObject{"anyOf": forms}
}

// A variable may stand in any text, so wherever a scalar of some form is
// expected, one with a variable is good too.
const variablePattern = `\$\{`

func textSchema(pattern string) jsonObject {
	return jsonObject{"type": "string", "pattern": "(" + pattern + ")|" + variablePattern}
}

func either(forms ...jsonObject) jsonObject { return jsonObject{"anyOf": forms} }

func (v *Value[T]) schema(tag reflect.StructTag) jsonObject {
	switch any(v.Value).(type) {
	case bool:
		return either(jsonObject{"type": "boolean"}, jsonObject{"type": "string", "pattern": variablePattern})
	case int:
		number := jsonObject{"type": "integer"}
		if low, err := strconv.Atoi(tag.Get("min")); err == nil {
			number["minimum"] = low
		}
		if high, err := strconv.Atoi(tag.Get("max")); err == nil {
			number["maximum"] = high
		}
		return either(number, jsonObject{"type": "string", "pattern": variablePattern})
	case Bytes:
		return either(jsonObject{"type": "integer", "minimum": 0}, textSchema(`^[0-9]+[KMGT]?$`))
	case PercentOf:
		return textSchema(`^[0-9]+%$`)
	case Bits:
		// What 077 is depends on the reader's version of YAML.
		return either(jsonObject{"type": "integer", "minimum": 0}, textSchema(`^0[o0-7]*$`))
	case time.Duration:
		return textSchema(`^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^[0-9]+d$`)
	}
	if values := tag.Get("values"); values != "" {
		return either(jsonObject{"enum": strings.Split(values, "|")}, jsonObject{"type": "string", "pattern": variablePattern})
	}
	switch tag.Get("kind") {
	case "path":
		return textSchema("^/")
	case "name":
		return textSchema(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	case "address":
		return textSchema(`^(tcp|udp|unix|unix-datagram):`)
	case "signal":
		return textSchema(`^(SIG)?[A-Z0-9]+$`)
	}
	return jsonObject{"type": []string{"string", "number", "boolean"}}
}

func (m *Map[T]) schema(tag reflect.StructTag) jsonObject {
	names := `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`
	if tag.Get("keys") == "path" {
		names = "^/"
	}
	return jsonObject{"type": "object", "additionalProperties": schemaOf(reflect.TypeFor[T](), tag),
		"propertyNames": jsonObject{"pattern": names}}
}

func (u *PathUse) schema(reflect.StructTag) jsonObject {
	return either(textSchema("^/"), structSchema(reflect.TypeFor[PathUse]()))
}

func (u *TemporaryUse) schema(reflect.StructTag) jsonObject {
	return either(textSchema("^/"), structSchema(reflect.TypeFor[TemporaryUse]()))
}

func (u *GrantUse) schema(reflect.StructTag) jsonObject {
	setting := structSchema(reflect.TypeFor[GrantUseSetting]())
	return either(new(Text).schema(`kind:"name"`), jsonObject{"type": "object", "additionalProperties": setting, "minProperties": 1, "maxProperties": 1})
}

func (u *AfterUse) schema(reflect.StructTag) jsonObject {
	return either(new(Text).schema(`kind:"name"`), jsonObject{"type": "object", "additionalProperties": new(Text).schema(afterTag), "minProperties": 1, "maxProperties": 1})
}

func (u *SyscallUse) schema(reflect.StructTag) jsonObject {
	return either(jsonObject{"type": "string"}, structSchema(reflect.TypeFor[SyscallDenial]()), structSchema(reflect.TypeFor[SyscallCondition]()))
}

func (e *Environment) schema(reflect.StructTag) jsonObject {
	name := jsonObject{"pattern": `^[A-Za-z_][A-Za-z0-9_]*$`}
	source := structSchema(reflect.TypeFor[EnvironmentSource]())
	source["minProperties"] = 1
	return either(
		jsonObject{"type": "object", "propertyNames": name, "additionalProperties": either(new(Text).schema(""), source)},
		listSchema(jsonObject{"type": "string", "pattern": name["pattern"]}, ""))
}

func (l *LogSetting) schema(reflect.StructTag) jsonObject {
	return either(jsonObject{"enum": []string{"terminal", "journald"}}, structSchema(reflect.TypeFor[LogFile]()))
}

func (r *PassRule) schema(reflect.StructTag) jsonObject {
	return either(new(Text).schema(`values:"all|none"`), listSchema(jsonObject{"type": "string"}, ""))
}

func (r *ReadySetting) schema(reflect.StructTag) jsonObject {
	how := structSchema(reflect.TypeFor[ReadyHow]())
	how["minProperties"], how["maxProperties"] = 1, 1
	return either(new(Text).schema(`values:"at-once|notify"`), how)
}
