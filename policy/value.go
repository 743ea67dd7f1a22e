package policy

import (
	"fmt"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"
)

const nameHint = "names are letters, digits, - and _, at most 63, and start with a letter or digit"

// nameWord says whether a text may name an application, component, grant or
// variable: names become parts of paths, of LISTEN_FDNAMES and of --set keys.
func nameWord(text string) bool {
	if text == "" || len(text) > 63 {
		return false
	}
	for i, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return true
}

func environmentName(text string) bool {
	for i, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}

// looksBoolean are the words that YAML 1.1 took for truth values.
func looksBoolean(text string) bool {
	switch strings.ToLower(text) {
	case "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}

// decode fills a scalar; what it may look like depends on its type and tag.
func (v *Value[T]) decode(d *decoder, n *node, tag reflect.StructTag) {
	if n.broken {
		return
	}
	if n.kind == mapNode || n.kind == listNode {
		hint := ""
		if len(n.items) == 1 && n.items[0].kind == scalarNode {
			hint = "write " + brief(n.items[0].text) + " without the brackets"
		}
		d.wrongKind(n, wordFor(any(v.Value)), hint)
		return
	}
	if n.kind == nullNode {
		d.mistake(n.at, `write "" for an empty text`, "%s is expected here, not nothing", wordFor(any(v.Value)))
		return
	}
	var wrong, hint string
	switch target := any(&v.Value).(type) {
	case *string:
		*target = n.text
		wrong, hint = checkText(n, tag)
		if values := tag.Get("values"); wrong == "" && values != "" {
			wrong, hint = checkWord(n.text, strings.Split(values, "|"))
		}
	case *bool:
		*target = n.text == "true"
		if n.quoted || n.text != "true" && n.text != "false" {
			wrong, hint = fmt.Sprintf("%q is neither true nor false", brief(n.text)), "write true or false, without quotes"
		}
	case *int:
		*target, wrong, hint = parseNumber(n, tag)
	case *Bytes:
		*target, wrong, hint = parseBytes(n.text)
	case *PercentOf:
		*target, wrong, hint = parsePercent(n.text)
	case *Bits:
		*target, wrong, hint = parseBits(n)
	case *time.Duration:
		*target, wrong, hint = parseDuration(n.text)
	}
	if wrong != "" {
		var zero T
		v.Value = zero
		d.mistake(n.at, hint, "%s", wrong)
		return
	}
	v.Position = n.at
}

func wordFor(value any) string {
	switch value.(type) {
	case bool:
		return "true or false"
	case int:
		return "a number"
	case Bytes:
		return "a size"
	case PercentOf:
		return "a percentage"
	case Bits:
		return "an octal number"
	case time.Duration:
		return "a time"
	}
	return "a text"
}

func checkText(n *node, tag reflect.StructTag) (wrong, hint string) {
	if !n.quoted && looksBoolean(n.text) {
		return fmt.Sprintf("%s is a truth value to some YAML readers and a text to others", n.text), fmt.Sprintf("write %q in quotes", n.text)
	}
	if strings.ContainsRune(n.text, 0) {
		return "a text cannot hold a NUL", ""
	}
	switch tag.Get("kind") {
	case "path":
		return checkPath(n.text)
	case "name":
		if !nameWord(n.text) {
			return fmt.Sprintf("%q cannot be a name", brief(n.text)), nameHint
		}
	case "signal":
		if _, known := signalNumber(n.text); !known {
			return fmt.Sprintf("%q is no signal", brief(n.text)), suggestion(n.text, signalNames())
		}
	case "word64":
		if _, err := strconv.ParseUint(n.text, 0, 64); err != nil {
			return fmt.Sprintf("%q is not a number of 64 bits", brief(n.text)), "write 5 or 0x5401"
		}
	}
	return "", ""
}

func checkPath(text string) (wrong, hint string) {
	switch {
	case text == "":
		return "the path is empty", ""
	case strings.HasPrefix(text, "~"):
		return "~ is a shell's word, not a path", "write the absolute path"
	case !strings.HasPrefix(text, "/"):
		return fmt.Sprintf("the path %q is not absolute", brief(text)), fmt.Sprintf("write %q if that is meant", brief("/"+text))
	case strings.Contains(text+"/", "/../"):
		return "a path with .. may lead anywhere", fmt.Sprintf("write %q", brief(path.Clean(text)))
	case len(text) > 4000:
		return "the path is longer than a path may be", ""
	}
	return "", ""
}

func checkWord(text string, values []string) (wrong, hint string) {
	for _, value := range values {
		if text == value {
			return "", ""
		}
	}
	hint = "write " + strings.Join(values, ", ")
	if near := nearest(text, values); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf("%q is not allowed here", brief(text)), hint
}

func parseNumber(n *node, tag reflect.StructTag) (value int, wrong, hint string) {
	if n.quoted {
		return 0, "a number is expected here, not a text in quotes", "write it without quotes"
	}
	if len(n.text) > 1 && n.text[0] == '0' && n.text[1] >= '0' && n.text[1] <= '9' {
		return 0, fmt.Sprintf("%s is octal to some YAML readers and decimal to others", n.text), "write " + strings.TrimLeft(n.text[:len(n.text)-1], "0") + n.text[len(n.text)-1:]
	}
	value, err := strconv.Atoi(n.text)
	if err != nil {
		return 0, fmt.Sprintf("%q is not a whole number", brief(n.text)), "write digits"
	}
	low, errLow := strconv.Atoi(tag.Get("min"))
	high, errHigh := strconv.Atoi(tag.Get("max"))
	if errLow == nil && errHigh == nil && (value < low || value > high) {
		return 0, fmt.Sprintf("%d is out of range", value), fmt.Sprintf("write a number from %d to %d", low, high)
	}
	return value, "", ""
}

// parseBytes reads 512, 64K, 64M, 1G: binary multiples, as the kernel counts.
func parseBytes(text string) (size Bytes, wrong, hint string) {
	hint = "write 4096, 64K, 64M or 1G"
	digits := strings.TrimRight(text, "KMGTkmgtiB")
	unit := text[len(digits):]
	shift, known := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	value, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Sprintf("%q is not a size", brief(text)), hint
	}
	if !known {
		letter := strings.ToUpper(unit[:1])
		return 0, fmt.Sprintf("%q is not a unit of size", unit), fmt.Sprintf("write %s%s", digits, strings.Trim(letter, "IB"))
	}
	if value > (1<<63)>>shift {
		return 0, fmt.Sprintf("%q is more than any machine has", brief(text)), hint
	}
	return Bytes(value << shift), "", ""
}

func parsePercent(text string) (percent PercentOf, wrong, hint string) {
	number, isPercent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseUint(number, 10, 32)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("%q is not a percentage", brief(text)), "write 50%, or 200% for two processors"
	case !isPercent:
		return 0, "the % is missing", fmt.Sprintf("write %d%%", value)
	case value < 1 || value > 100_000:
		return 0, fmt.Sprintf("%d%% is out of range", value), "write 1% to 100000%"
	}
	return PercentOf(value), "", ""
}

// parseBits reads permission bits. They must look octal: 640 could mean both.
func parseBits(n *node) (bits Bits, wrong, hint string) {
	digits := strings.TrimPrefix(n.text, "0o")
	value, err := strconv.ParseUint(digits, 8, 32)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("%q is not an octal number", brief(n.text)), "octal digits are 0 to 7, as in 0640"
	case n.text[0] != '0':
		return 0, "permission bits are octal and start with 0", "write 0" + n.text
	case value > 0o777:
		return 0, fmt.Sprintf("%s has more than the nine permission bits", n.text), "write 0000 to 0777"
	}
	return Bits(value), "", ""
}

// parseDuration reads 500ms, 2s, 5m, 1h, 7d.
func parseDuration(text string) (duration time.Duration, wrong, hint string) {
	hint = "write 500ms, 2s, 5m, 1h or 7d"
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.Atoi(days); isDays && err == nil && n > 0 && n <= 366 {
		text = strconv.Itoa(24*n) + "h"
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		if _, errNumber := strconv.Atoi(text); errNumber == nil {
			return 0, fmt.Sprintf("the time %s has no unit", text), fmt.Sprintf("write %ss for seconds, or ms, m, h, d", text)
		}
		return 0, fmt.Sprintf("%q is not a time", brief(text)), hint
	}
	if duration < 0 {
		return 0, "a time cannot be negative", hint
	}
	if duration > 365*24*time.Hour {
		return 0, fmt.Sprintf("%q is longer than a year", brief(text)), hint
	}
	return duration, "", ""
}
