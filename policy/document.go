package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"bulkhead/policy/plan"
)

// What a document may be at most. The YAML parser needs time that grows with
// the square of the number of lines (100,000 keys: half a minute) and a stack
// as deep as the document, so these are checked before it sees the text.
const (
	documentBytes  = 1 << 20
	documentLines  = 10_000
	documentTokens = 40_000
	documentDepth  = 32
	documentNodes  = 100_000 // after aliases are followed
)

// nodeKind is a kind of node.
type nodeKind uint8

const (
	scalarNode nodeKind = iota + 1
	listNode
	mapNode
	nullNode
)

// node is one value of a document: YAML without its tags, anchors and styles.
type node struct {
	kind   nodeKind
	at     plan.Position
	text   string // scalar
	quoted bool   // scalar: in quotes or a block, so it is text whatever it looks like
	items  []*node
	pairs  []pair

	// resolved is set on a scalar in which ${…} was resolved already.
	resolved bool
	// broken is set on a scalar of which a mistake was reported already.
	broken bool
	// replaces is set on a list written as {replace: […]}.
	replaces bool
}

// pair is one key of a map node.
type pair struct {
	key   string
	at    plan.Position
	value *node
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for i := range n.pairs {
		if n.pairs[i].key == key {
			return n.pairs[i].value
		}
	}
	return nil
}

// has says whether a map has one of the keys, or one that is nearly it: what
// is wrong with it is reported already.
func (n *node) has(keys ...string) bool {
	if n == nil {
		return false
	}
	for _, p := range n.pairs {
		if nearest(p.key, keys) != "" {
			return true
		}
	}
	return false
}

// word says what a node is, in messages.
func (n *node) word() string {
	switch n.kind {
	case listNode:
		return "a list"
	case mapNode:
		return "a map"
	case nullNode:
		return "nothing"
	}
	return fmt.Sprintf("%q", brief(n.text))
}

// brief keeps messages readable when a value is long.
func brief(text string) string {
	const most = 80
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most]) + "…"
}

// readDocument parses text. It returns nil when nothing can be made of it.
func readDocument(name, text string, r *reporter) *node {
	at := plan.Position{File: name}
	before := len(r.problems)
	if len(text) > documentBytes {
		r.mistake(at, "", "the file has %d bytes; a policy may have %d", len(text), documentBytes)
		return nil
	}
	text = strings.TrimPrefix(text, "\uFEFF")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if !readable(name, text, r) {
		return nil
	}
	file, err := parseYAML(text)
	if err != nil {
		r.problems = append(r.problems, syntaxProblem(name, err))
		return nil
	}
	c := &converter{file: name, anchors: map[string]*node{}, reporter: r}
	var root *node
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		if root != nil {
			if second := c.convert(document.Body); second != nil {
				r.mistake(second.at, "put it into a file of its own and name that under include:", "a second document in one file")
			}
			break
		}
		root = c.convert(document.Body)
	}
	if root == nil && len(r.problems) > before {
		return nil
	}
	if root == nil || root.kind == nullNode {
		r.mistake(plan.Position{File: name, Line: 1, Column: 1}, "a policy starts with application: NAME", "the file is empty")
		return nil
	}
	return root
}

// readable refuses what the parser would take too long for, or would
// misunderstand in silence.
func readable(name, text string, r *reporter) bool {
	good := true
	refuse := func(line, column int, hint, format string, arguments ...any) {
		r.mistake(plan.Position{File: name, Line: line, Column: column}, hint, format, arguments...)
		good = false
	}
	lines := strings.Split(text, "\n")
	if len(lines) > documentLines {
		refuse(documentLines+1, 1, "put parts into files of their own and name them under include:", "the file has %d lines; a policy may have %d", len(lines), documentLines)
		return false
	}
	flow := 0
	for i, line := range lines {
		if !utf8.ValidString(line) {
			column := 1
			for _, c := range line {
				if c == utf8.RuneError {
					break
				}
				column++
			}
			refuse(i+1, column, "save the file as UTF-8", "the file is not UTF-8")
			return false
		}
		indent := strings.TrimLeft(line, " ")
		if tab := strings.TrimLeft(line, " \t"); len(tab) != len(indent) && tab != "" && !strings.HasPrefix(tab, "#") {
			refuse(i+1, len(line)-len(indent)+1, "indent with spaces", "a tab in the indentation")
		}
		for column, c := range []rune(line) {
			if c < ' ' && c != '\t' || c == 0x7f {
				refuse(i+1, column+1, "write it as an escape in double quotes", "the control character %#x", c)
				return false
			}
		}
		if deep := compactDepth(indent); deep > documentDepth {
			refuse(i+1, 1, "", "values inside values more than %d deep", documentDepth)
			return false
		}
		// Brackets in strings and comments are counted too: they may only
		// make the count too high, and nobody writes so many of them.
		column := 0
		for _, c := range line {
			column++
			switch c {
			case '[', '{':
				if flow++; flow > documentDepth {
					refuse(i+1, column, "", "brackets inside brackets more than %d deep", documentDepth)
					return false
				}
			case ']', '}':
				flow = max(0, flow-1)
			}
		}
		if width := len(line) - len(indent); width > 8*documentDepth {
			refuse(i+1, 1, "", "indented by %d spaces, deeper than a policy goes", width)
			return false
		}
	}
	return good
}

// compactDepth counts "- - - " and "? ? " at the start of a line, each of
// which opens a value inside a value.
func compactDepth(line string) int {
	depth := 0
	for len(line) >= 2 && (line[0] == '-' || line[0] == '?' || line[0] == ':') && (line[1] == ' ' || line[1] == '\t') {
		depth++
		line = strings.TrimLeft(line[2:], " \t")
	}
	return depth
}

// parseYAML calls the parser. A parser that panics on what somebody else wrote
// must not take a broker's start with it.
func parseYAML(text string) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("this is not YAML that can be understood")
		}
	}()
	tokens := lexer.Tokenize(text)
	if len(tokens) > documentTokens {
		return nil, fmt.Errorf("the file has %d words and signs; a policy may have %d", len(tokens), documentTokens)
	}
	// Duplicate keys are found by the converter: it reports all of them, and
	// names the first place.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntaxHints say what to do about the parser's commonest messages.
var syntaxHints = []struct{ part, message, hint string }{
	{"could not find end character of double-quoted text", "the text in double quotes does not end", `close it with "`},
	{"could not find end character of single-quoted text", "the text in single quotes does not end", `close it with '`},
	{"mapping value is not allowed in this context", "a value does not fit here", "put a text that holds \": \" in quotes, and check the indentation"},
	{"value is not allowed in this context", "a value does not fit here", "check the indentation"},
	{"non-map value is specified", "a value stands where \"key: value\" is expected", "write \"key: value\", with a space after the colon"},
	{"unexpected key name", "a key does not fit here", "check the indentation"},
	{"could not find flow map content", "the braces do not hold \"key: value\" pairs", "write {key: value, key: value}"},
	{"',' or ']' must be specified", "the list in brackets does not end, or a comma is missing", "write [a, b]"},
	{"sequence end token ']' not found", "the list in brackets does not end", "close it with ]"},
	{"could not find flow mapping end token '}'", "the map in braces does not end", "close it with }"},
	{"',' or '}' must be specified", "the map in braces does not end, or a comma is missing", "write {key: value, key: value}"},
	{"'@' is a reserved character", "a text that starts with @ needs quotes", `write "@name"`},
	{"'`' is a reserved character", "a text that starts with ` needs quotes", ""},
	{"invalid key for this map", "a key must be a plain word", "write key: value"},
	{"found character '\\t' that cannot start any token", "a tab where YAML wants spaces", "indent with spaces"},
}

func syntaxProblem(name string, err error) Problem {
	problem := Problem{Position: plan.Position{File: name}, Message: err.Error()}
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return problem
	}
	problem.Message = "YAML: " + syntax.GetMessage()
	if t := syntax.GetToken(); t != nil && t.Position != nil {
		problem.Position = plan.Position{File: name, Line: t.Position.Line, Column: t.Position.Column}
	}
	for _, known := range syntaxHints {
		if strings.Contains(syntax.GetMessage(), known.part) {
			problem.Message, problem.Hint = known.message, known.hint
			break
		}
	}
	return problem
}

// converter turns the parser's tree into nodes.
type converter struct {
	*reporter
	file    string
	anchors map[string]*node
	nodes   int
	full    bool
}

func (c *converter) position(t *token.Token) plan.Position {
	at := plan.Position{File: c.file}
	if t != nil && t.Position != nil {
		at.Line, at.Column = t.Position.Line, t.Position.Column
	}
	return at
}

// count bounds the tree: aliases of aliases grow a few lines into billions of
// values ("billion laughs").
func (c *converter) count(n int, at plan.Position) bool {
	c.nodes += n
	if c.nodes > documentNodes {
		if !c.full {
			c.mistake(at, "", "aliases make more than %d values of this file", documentNodes)
		}
		c.full = true
	}
	return !c.full
}

func (c *converter) convert(value ast.Node) *node {
	if value == nil {
		return nil
	}
	at := c.position(value.GetToken())
	if !c.count(1, at) {
		return nil
	}
	switch v := value.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			// The token of a block mapping is its first colon.
			at = c.position(v.Values[0].Key.GetToken())
		}
		return c.mapping(at, v.Values)
	case *ast.MappingValueNode:
		return c.mapping(c.position(v.Key.GetToken()), []*ast.MappingValueNode{v})
	case *ast.SequenceNode:
		list := &node{kind: listNode, at: at}
		for _, item := range v.Values {
			if converted := c.convert(item); converted != nil {
				list.items = append(list.items, converted)
			}
		}
		return list
	case *ast.StringNode:
		quoted := v.Token.Type == token.DoubleQuoteType || v.Token.Type == token.SingleQuoteType
		return &node{kind: scalarNode, at: at, text: v.Value, quoted: quoted}
	case *ast.LiteralNode:
		return &node{kind: scalarNode, at: at, text: v.Value.Value, quoted: true}
	case *ast.NullNode:
		return &node{kind: nullNode, at: at, text: v.GetToken().Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		// The text as written: the decoder knows what the key wants, and
		// 077 is then what it looks like.
		return &node{kind: scalarNode, at: at, text: strings.TrimSpace(value.GetToken().Value)}
	case *ast.AnchorNode:
		converted := c.convert(v.Value)
		if converted != nil && v.Name != nil {
			c.anchors[v.Name.GetToken().Value] = converted
		}
		return converted
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		anchored, known := c.anchors[name]
		if !known {
			c.mistake(at, suggestion(name, keysOf(c.anchors)), "the alias *%s names no anchor that stands before it", name)
			return nil
		}
		if !c.count(size(anchored, documentNodes), at) {
			return nil
		}
		return anchored
	case *ast.TagNode:
		c.mistake(at, "leave the tag out; quotes make a text", "the tag %s: a policy has no tags", v.GetToken().Value)
		return nil
	}
	c.mistake(at, "", "this kind of YAML is not part of a policy")
	return nil
}

func (c *converter) mapping(at plan.Position, values []*ast.MappingValueNode) *node {
	result := &node{kind: mapNode, at: at}
	first := map[string]plan.Position{}
	for _, value := range values {
		keyAt := c.position(value.Key.GetToken())
		if value.Key.IsMergeKey() {
			c.mistake(keyAt, "use extends: with a profile or a file", "YAML's merge key << is not part of a policy")
			continue
		}
		key, ok := scalarKey(value.Key)
		if !ok {
			c.mistake(keyAt, "write key: value", "a key must be a plain word")
			continue
		}
		if before, twice := first[key]; twice {
			c.mistake(keyAt, "keep one of them", "the key %q stands here twice; first in line %d", brief(key), before.Line)
			continue
		}
		first[key] = keyAt
		converted := c.convert(value.Value)
		if converted == nil {
			if c.full {
				return nil
			}
			continue
		}
		if converted.kind == nullNode {
			// The parser gives an absent value the place of the colon.
			converted.at = keyAt
		}
		result.pairs = append(result.pairs, pair{key: key, at: keyAt, value: converted})
	}
	return result
}

func scalarKey(key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return strings.TrimSpace(key.GetToken().Value), true
	}
	return "", false
}

// size counts the values below n, up to most.
func size(n *node, most int) int {
	total := 1
	for _, item := range n.items {
		if total > most {
			break
		}
		total += size(item, most-total)
	}
	for _, p := range n.pairs {
		if total > most {
			break
		}
		total += size(p.value, most-total)
	}
	return total
}

func keysOf[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}
