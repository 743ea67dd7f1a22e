package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"bulkhead/policy"
	"bulkhead/test/golden"
)

func schema(t *testing.T) map[string]any {
	t.Helper()
	var text bytes.Buffer
	if err := policy.WriteSchema(&text); err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text.Bytes(), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// validate checks a value against the keywords that the schema uses.
func validate(root, schema map[string]any, value any) error {
	for keyword := range schema {
		switch keyword {
		case "$schema", "title", "description", "definitions", "type", "properties", "additionalProperties", "required", "propertyNames",
			"minProperties", "maxProperties", "anyOf", "allOf", "enum", "pattern", "minimum", "maximum", "items", "$ref":
		default:
			return fmt.Errorf("the test does not know the keyword %s", keyword)
		}
	}
	if reference, ok := schema["$ref"].(string); ok {
		return validate(root, root["definitions"].(map[string]any)[strings.TrimPrefix(reference, "#/definitions/")].(map[string]any), value)
	}
	for _, part := range asList(schema["allOf"]) {
		if err := validate(root, part.(map[string]any), value); err != nil {
			return err
		}
	}
	if forms := asList(schema["anyOf"]); forms != nil {
		var errors []string
		for _, form := range forms {
			err := validate(root, form.(map[string]any), value)
			if err == nil {
				return nil
			}
			errors = append(errors, err.Error())
		}
		return fmt.Errorf("none of: %s", strings.Join(errors, "; "))
	}
	if types := asList(schema["type"]); types != nil || schema["type"] != nil {
		if types == nil {
			types = []any{schema["type"]}
		}
		good := false
		for _, name := range types {
			good = good || hasType(name.(string), value)
		}
		if !good {
			return fmt.Errorf("%v is no %v", value, schema["type"])
		}
	}
	if enum := asList(schema["enum"]); enum != nil {
		for _, word := range enum {
			if word == value {
				return nil
			}
		}
		return fmt.Errorf("%v is none of %v", value, enum)
	}
	switch v := value.(type) {
	case string:
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			return fmt.Errorf("%q does not match %s", v, pattern)
		}
	case float64:
		if low, ok := schema["minimum"].(float64); ok && v < low {
			return fmt.Errorf("%v is too small", v)
		}
		if high, ok := schema["maximum"].(float64); ok && v > high {
			return fmt.Errorf("%v is too large", v)
		}
	case []any:
		for i, item := range v {
			if err := validate(root, schema["items"].(map[string]any), item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case map[string]any:
		return validateMap(root, schema, v)
	}
	return nil
}

func validateMap(root, schema, value map[string]any) error {
	properties, _ := schema["properties"].(map[string]any)
	names, _ := schema["propertyNames"].(map[string]any)
	for key, item := range value {
		if pattern, ok := names["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(key) {
			return fmt.Errorf("the key %q does not match %s", key, pattern)
		}
		property, known := properties[key].(map[string]any)
		if !known {
			property, known = schema["additionalProperties"].(map[string]any)
		}
		if !known && schema["additionalProperties"] == false {
			return fmt.Errorf("unknown key %q", key)
		}
		if !known {
			continue // another schema of allOf describes it
		}
		if err := validate(root, property, item); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, key := range asList(schema["required"]) {
		if _, has := value[key.(string)]; !has {
			return fmt.Errorf("the key %v is missing", key)
		}
	}
	if low, ok := schema["minProperties"].(float64); ok && len(value) < int(low) {
		return fmt.Errorf("too few keys")
	}
	if high, ok := schema["maxProperties"].(float64); ok && len(value) > int(high) {
		return fmt.Errorf("too many keys")
	}
	return nil
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}

func hasType(name string, value any) bool {
	switch v := value.(type) {
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// document reads YAML as an editor does.
func document(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestTheSchemaTakesWhatTheDecoderTakes(t *testing.T) {
	root := schema(t)
	for _, pattern := range []string{"testdata/plans/*.yaml", "testdata/parts/*.yaml", "testdata/diff/*.yaml", "testdata/lint/*.yaml", "../profiles/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			if err := validate(root, root, document(t, file)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestTheSchemaRefusesWhatTheDecoderRefuses tries the mistakes that can be seen
// in one value alone.
func TestTheSchemaRefusesWhatTheDecoderRefuses(t *testing.T) {
	root := schema(t)
	for _, name := range []string{"unknown-key-top", "unknown-key-component", "unknown-key-far", "unknown-key-limits", "unknown-key-files",
		"underscore-key", "command-is-text", "wrong-type-map", "wrong-type-list", "wrong-type-scalar", "key-without-value", "boolean-yes",
		"boolean-quoted", "size-unit", "size-fraction", "size-negative", "time-unit", "time-days", "percent-sign", "number-range",
		"number-word", "word-near", "word-far", "path-relative", "path-home", "address-kind", "address-no-kind", "environment-name",
		"environment-list", "ready-word", "ready-two", "name-space", "name-application", "optional-wall", "supervision-strategy"} {
		value := document(t, "testdata/mistakes/"+name+".yaml")
		if err := validate(root, root, value); err == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

func TestTheSchemaIsCurrent(t *testing.T) {
	var text bytes.Buffer
	if err := policy.WriteSchema(&text); err != nil {
		t.Fatal(err)
	}
	golden.Expect(t, "testdata/schema.golden", text.String())
}
