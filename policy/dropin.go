package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"bulkhead/policy/plan"
)

// DropIn is a file of policy.d that a program writes: what `sandbox denials
// --apply` adds to a policy without touching the file that a person wrote.
type DropIn struct {
	application string
	root        *node
}

// dropInMark is the first line of such a file. No other file is replaced.
const dropInMark = "# Written by sandbox denials --apply"

const dropInHead = dropInMark + `: what was refused once and is allowed since.
# Remove what should be refused again. Comments are not kept when more is added.
`

// ErrNotDropIn says that a file was written by somebody else.
var ErrNotDropIn = errors.New("it was not written by sandbox denials --apply")

// NewDropIn is a drop-in for one application that allows nothing.
func NewDropIn(application string) *DropIn {
	d := &DropIn{application: application, root: &node{kind: mapNode}}
	d.set([]string{"application"}, word(application))
	return d
}

// ParseDropIn reads one that was written before.
func ParseDropIn(name, application, text string) (*DropIn, error) {
	if !strings.HasPrefix(text, dropInMark) {
		return nil, ErrNotDropIn
	}
	l := newLoader()
	l.sources.add(name, text)
	root := readDocument(name, text, l.reporter)
	if root == nil || root.kind != mapNode || len(l.problems) > 0 {
		if len(l.problems) == 0 {
			l.mistake(plan.Position{File: name, Line: 1, Column: 1}, "", "a drop-in is a map of keys")
		}
		return nil, &Problems{List: l.sources.finish(l.problems)}
	}
	if named := root.get("application"); named == nil || named.text != application {
		return nil, fmt.Errorf("it is not for application %q", application)
	}
	return &DropIn{application, root}, nil
}

// Copy is another drop-in of the same content.
func (d *DropIn) Copy() *DropIn {
	return &DropIn{d.application, merge(nil, d.root, "")} // trees are never changed, only replaced
}

// The lines that a denial can come with (broker/supervisor/denial.go). What is
// in brackets was named by a worker: it is one word, bare or in quotes, or the
// line is not understood.
const (
	nameIn = `([A-Za-z0-9][A-Za-z0-9_-]*)`
	wordIn = `("(?:[^"\\]|\\.)*"|[A-Za-z0-9/._+@=-]+)`
)

var (
	listLine   = pattern(`^components\.` + nameIn + `\.(syscalls|may-start|grants): \[` + wordIn + `\]$`)
	filesLine  = pattern(`^components\.` + nameIn + `\.files: \{(read|write): \[` + wordIn + `\]\}$`)
	accessLine = pattern(`^grants\.` + nameIn + `\.access: (read-write)$`)
	socketLine = pattern(`^grants\.NAME: \{(listen|connect): ` + wordIn + `\} and components\.` + nameIn + `\.grants: \[NAME\]$`)
)

// pattern is a regular expression that is compiled when somebody looks for it:
// a program that starts an application has no use for any.
func pattern(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// Allow adds what one line of a denial says and returns what it added, as the
// keys and values of a policy; nothing when all of it is there already. p is the
// plan of the policy without it.
func (d *DropIn) Allow(line string, p *plan.Plan) (added []string, err error) {
	var failed error
	text := func(quoted string) *node {
		if strings.HasPrefix(quoted, `"`) {
			plain, err := strconv.Unquote(quoted)
			if err != nil || !utf8.ValidString(plain) || strings.ContainsRune(plain, 0) {
				failed = fmt.Errorf("%s cannot be written in a policy", quoted)
			}
			return word(plain)
		}
		return word(quoted)
	}
	add := func(value *node, keys ...string) {
		if failed == nil && d.set(keys, value) {
			added = append(added, strings.Join(keys, ".")+": "+value.flow())
		}
	}
	list := func(item *node) *node { return &node{kind: listNode, items: []*node{item}} }
	if m := listLine().FindStringSubmatch(line); m != nil {
		add(list(text(m[3])), "components", m[1], m[2])
	} else if m := filesLine().FindStringSubmatch(line); m != nil {
		add(list(text(m[3])), "components", m[1], "files", m[2])
	} else if m := accessLine().FindStringSubmatch(line); m != nil {
		add(word(m[2]), "grants", m[1], "access")
	} else if m := socketLine().FindStringSubmatch(line); m != nil {
		address := text(m[2])
		name := d.grantFor(p, m[1], address)
		if name == "" {
			name = d.freeName(p, m[1], address.text)
			add(address, "grants", name, m[1])
		}
		add(list(word(name)), "components", m[3], "grants")
	} else {
		return nil, fmt.Errorf("no line of a policy: %s", line)
	}
	return added, failed
}

// set merges a value at some keys and says whether that changed anything.
func (d *DropIn) set(keys []string, value *node) bool {
	at := d.at(keys)
	if at != nil && value.kind == listNode {
		if list := at.get("replace"); list != nil && list.kind == listNode {
			at = list // somebody wrote {replace: […]}, and that it stays
		}
		for _, item := range at.items {
			if item.kind == scalarNode && item.text == value.items[0].text {
				return false
			}
		}
		if at != d.at(keys) || at.replaces {
			whole := &node{kind: listNode, replaces: true}
			whole.items = append(append(whole.items, at.items...), value.items...)
			value = whole
		}
	}
	if at != nil && value.kind == scalarNode && at.kind == scalarNode && at.text == value.text {
		return false
	}
	tree := value
	for k := len(keys) - 1; k >= 0; k-- {
		tree = &node{kind: mapNode, pairs: []pair{{key: keys[k], value: tree}}}
	}
	d.root = merge(d.root, tree, "")
	return true
}

// at is what stands at some keys, nil for nothing.
func (d *DropIn) at(keys []string) *node {
	n := d.root
	for _, key := range keys {
		n = n.get(key)
	}
	return n
}

// grantFor is a grant that is there already for the same socket.
func (d *DropIn) grantFor(p *plan.Plan, verb string, address *node) string {
	kind := plan.GrantListen
	if verb == "connect" {
		kind = plan.GrantConnect
	}
	for k := range p.Grants {
		if g := &p.Grants[k]; g.Kind == kind && g.Socket() == address.text {
			return g.Name
		}
	}
	if grants := d.root.get("grants"); grants != nil {
		for _, known := range grants.pairs {
			if same := known.value.get(verb); same != nil && same.text == address.text {
				return known.key
			}
		}
	}
	return ""
}

// freeName makes a grant's name out of what it is for.
func (d *DropIn) freeName(p *plan.Plan, verb, address string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(verb+"-"+address))
	const most = 50 // of 63: a number may come behind it
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' }), "-")
	name = strings.TrimRight(name[:min(len(name), most)], "-")
	taken := func(name string) bool {
		for k := range p.Grants {
			if p.Grants[k].Name == name {
				return true
			}
		}
		return d.root.get("grants").get(name) != nil
	}
	for number, free := 2, name; ; number++ {
		if !taken(free) {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, number)
	}
}

// word is a text as a policy has it: ${ stands for itself.
func word(text string) *node {
	return &node{kind: scalarNode, quoted: true, text: strings.ReplaceAll(text, "${", "$${")}
}

// String is the file.
func (d *DropIn) String() string {
	var b strings.Builder
	b.WriteString(dropInHead)
	// In the order of a policy, however it came about.
	whole := &node{kind: mapNode}
	for _, key := range []string{"application", "grants", "components"} {
		if value := d.root.get(key); value != nil {
			whole.pairs = append(whole.pairs, pair{key: key, value: value})
		}
	}
	for _, p := range d.root.pairs {
		if whole.get(p.key) == nil {
			whole.pairs = append(whole.pairs, p)
		}
	}
	whole.block(&b, "")
	return b.String()
}

// block writes a map, a key in each line.
func (n *node) block(b *strings.Builder, indent string) {
	for _, p := range n.pairs {
		key := (&node{kind: scalarNode, quoted: true, text: p.key}).flow()
		switch {
		case p.value.kind == mapNode && len(p.value.pairs) > 0:
			fmt.Fprintf(b, "%s%s:\n", indent, key)
			p.value.block(b, indent+"  ")
		case p.value.kind == listNode && len(p.value.items) > 0 && !p.value.replaces:
			fmt.Fprintf(b, "%s%s:\n", indent, key)
			for _, item := range p.value.items {
				fmt.Fprintf(b, "%s  - %s\n", indent, item.flow())
			}
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, key, p.value.flow())
		}
	}
}

// plainScalar is what a scalar without quotes may look like anywhere.
var plainScalar = pattern(`^[A-Za-z0-9/._+-][A-Za-z0-9/._+@=%-]*$`)

// flow writes a value in one line.
func (n *node) flow() string {
	var parts []string
	switch n.kind {
	case nullNode:
		return "null"
	case scalarNode:
		switch {
		case !n.quoted && plainScalar().MatchString(n.text):
			return n.text
		case n.quoted && plainWord().MatchString(n.text) && !looksBoolean(n.text) && n.text != "true" && n.text != "false" && n.text != "null":
			return n.text
		}
		return strconv.Quote(n.text)
	case listNode:
		for _, item := range n.items {
			parts = append(parts, item.flow())
		}
		list := "[" + strings.Join(parts, ", ") + "]"
		if n.replaces {
			return "{replace: " + list + "}"
		}
		return list
	}
	for _, p := range n.pairs {
		parts = append(parts, (&node{kind: scalarNode, quoted: true, text: p.key}).flow()+": "+p.value.flow())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
