package learn

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// Options say what a draft is made for.
type Options struct {
	Application string // its name; "" is made of the program's
	Host        policy.Host
	// Base is a policy file that exists: the draft is then a drop-in with what
	// it lacks, and DropIn the path that it will have. Component names the one
	// that was observed.
	Base, DropIn, Component string
	Set                     []string // overrides of the base
	Denied                  []string // calls that the base denies, whatever is seen
}

// Draft makes a policy of a record, or with a base the drop-in that is missing.
// Nothing is missing where the text is empty.
func Draft(r *Record, o Options) (string, error) {
	d, err := newDraft(r, o)
	if err != nil {
		return "", err
	}
	c := &component{draft: d, name: nameOf(d.command[0]), program: r.together(), runs: r.Runs, command: d.command}
	if o.Component != "" {
		c.name = o.Component
	}
	d.components = []*component{c}
	if err := d.fill(); err != nil {
		return "", err
	}
	if o.Base != "" && !c.adds() && len(d.grants) == 0 {
		return "", nil
	}
	return d.render().text.String(), nil
}

func newDraft(r *Record, o Options) (*draft, error) {
	if len(r.Runs) == 0 {
		return nil, errors.New("the record is empty: observe a run first, with --record FILE -- PROGRAM")
	}
	last := r.Runs[len(r.Runs)-1]
	for _, run := range r.Runs {
		if run.Command[0] != last.Command[0] {
			return nil, fmt.Errorf("the record has runs of %s and of %s: keep a record for each program", run.Command[0], last.Command[0])
		}
	}
	d := &draft{record: r, options: o, host: o.Host, command: last.Command, name: nameOf(last.Command[0])}
	if o.Application != "" {
		d.name = o.Application
	}
	return d, nil
}

// draft is a policy on its way to text.
type draft struct {
	record     *Record
	options    Options
	host       policy.Host
	name       string
	command    []string
	grants     []*grant
	components []*component
	notes      []string
	tree       []string // who executed whom
	plan       *plan.Plan
}

// grant is one grant of the draft.
type grant struct {
	name string
	line
}

// component is one component of the draft.
type component struct {
	*draft
	name         string
	program      *Program
	runs         []Run
	command      []string
	settings     []*line // keys with one value
	grants       []string
	extends      []string
	files        map[string][]*line // by the key under files:
	replaced     bool               // the profile's temporary directories are not used
	proc         *line
	calls        []*line
	capabilities []*line
	limits       []*line
	inherited    []string
	user         string
	tool         bool            // it runs once and ends
	replaces     string          // it starts on exec, in the place of this program
	splits       map[string]bool // the programs that are components of their own
	starts       []string        // the components whose programs it executes
	listens      bool
	view         *view
}

// adds says whether the component has anything that its base lacks.
func (c *component) adds() bool {
	for _, lines := range c.files {
		if len(lines) > 0 {
			return true
		}
	}
	return len(c.grants) > 0 || len(c.calls) > 0 || len(c.limits) > 0 || c.proc != nil
}

// nameOf makes a name of a program's.
func nameOf(program string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, path.Base(program))
	if name = strings.Trim(name, "-_0123456789"); name == "" {
		return "program"
	}
	return name[:min(len(name), 40)]
}

func (d *draft) note(format string, arguments ...any) {
	text := oneLine(fmt.Sprintf(format, arguments...))
	if !slices.Contains(d.notes, text) {
		d.notes = append(d.notes, text)
	}
}

// note names the component where there are several.
func (c *component) note(format string, arguments ...any) {
	if len(c.components) > 1 {
		format = c.name + ": " + format
	}
	c.draft.note(format, arguments...)
}

// fill finds out everything, in the order in which one depends on the other:
// what is granted and written decides which calls come by themselves.
func (d *draft) fill() error {
	for _, c := range d.components {
		c.files = map[string][]*line{}
	}
	if d.options.Base != "" {
		if err := d.compile(); err != nil {
			return err
		}
	}
	for _, c := range d.components {
		c.sockets()
		c.identity()
		c.privileges()
		if d.options.Base == "" {
			c.nature()
		}
	}
	steps := []func(*component){(*component).limitsSeen, (*component).made, (*component).started, (*component).mapped, (*component).read, (*component).looked, (*component).startsIn, (*component).called}
	for i, step := range steps {
		if err := d.compile(); err != nil {
			return err
		}
		for _, c := range d.components {
			if i == 0 {
				c.start()
			}
			step(c)
		}
	}
	// Groups bring calls with conditions: what they leave out is named.
	for range 3 {
		if err := d.compile(); err != nil {
			return err
		}
		done := true
		for _, c := range d.components {
			before := len(c.calls)
			c.called()
			done = done && len(c.calls) == before
		}
		if done {
			break
		}
	}
	return d.compile()
}

// compile asks the policy's compiler what the draft allows so far. A line that
// it does not take is left out, and says why.
func (d *draft) compile() error {
	const mostRefused = 200
	for range mostRefused {
		p := d.render()
		loaded, loadError := d.load(p.text.String())
		if loaded == nil {
			return fmt.Errorf("read the draft again: %w", loadError)
		}
		compiled, _, err := policy.Compile(loaded, d.host)
		if err == nil {
			err = loadError
		}
		if err == nil {
			d.plan = compiled
			for _, c := range d.components {
				for i := range compiled.Components {
					if compiled.Components[i].Name == c.name {
						c.view = newView(d.host, &compiled.Components[i])
					}
				}
				if c.view == nil {
					return fmt.Errorf("%s has no component %q", d.options.Base, c.name)
				}
			}
			return nil
		}
		var problems *policy.Problems
		if !errors.As(err, &problems) || !d.refuse(p, problems) {
			return fmt.Errorf("compile the draft: %w\n%s", err, p.text.String())
		}
	}
	return errors.New("compile the draft: too much of it is refused")
}

func (d *draft) load(text string) (*policy.Policy, error) {
	if d.options.Base != "" {
		return policy.Load(d.options.Base, policy.Options{Set: d.options.Set, DropIns: map[string]string{d.options.DropIn: text}})
	}
	return policy.Parse(draftName, []byte(text), policy.Options{})
}

const draftName = "the draft"

// refuse leaves out the lines that are mistakes, and says whether there were any.
func (d *draft) refuse(p *printer, problems *policy.Problems) bool {
	some := false
	for _, problem := range problems.List {
		if d.options.Base != "" && problem.Position.File != d.options.DropIn {
			continue
		}
		if l := p.lines[problem.Position.Line]; l != nil && l.refused == "" {
			l.refused = oneLine(problem.Message)
			some = true
		}
	}
	return some
}

// render writes the draft.
func (d *draft) render() *printer {
	p := &printer{lines: map[int]*line{}}
	d.head(p)
	p.plain("application: %s", word(d.name))
	if len(d.grants) > 0 {
		p.plain("grants:")
		for _, g := range d.grants {
			p.entry("  ", &g.line)
		}
	}
	p.plain("components:")
	for _, c := range d.components {
		c.render(p)
	}
	return p
}

func (d *draft) head(p *printer) {
	if d.options.Base != "" {
		p.plain("# What %s lacks, learnt by `sandbox learn`.", oneLine(d.options.Base))
	} else {
		command := "learn"
		if len(d.tree) > 0 {
			command = "split"
		}
		p.plain("# A policy made by `sandbox %s` of what it saw in %s.", command, plural(len(d.record.Runs), "run"))
	}
	const mostRuns = 5
	for i, run := range d.record.Runs {
		if i == mostRuns {
			p.plain("#   and %s", plural(len(d.record.Runs)-i, "run"))
			break
		}
		state := run.Ended
		if run.Stopped {
			state = "stopped"
		}
		p.plain("#   %s: %s", oneLine(strings.Join(run.Command, " ")), state)
	}
	for _, text := range d.tree {
		p.plain("# %s", text)
	}
	if missing := d.record.Incomplete(); len(missing) > 0 {
		p.plain("# The record is not complete:")
		for _, text := range missing {
			p.plain("# - %s", oneLine(text))
		}
	}
	if len(d.notes) > 0 {
		p.plain("# To decide:")
		for _, note := range d.notes {
			p.plain("# - %s", note)
		}
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func (c *component) render(p *printer) {
	p.plain("  %s:", c.name)
	before := len(p.lines)
	if c.options.Base == "" {
		if len(c.extends) > 0 {
			p.plain("    extends: %s", list(c.extends))
		}
		if c.replaces == "" {
			p.plain("    command: %s", list(c.command))
		}
	}
	for _, setting := range c.settings {
		p.entry("    ", setting)
	}
	if len(c.starts) > 0 {
		p.plain("    may-start: %s", list(c.starts))
	}
	if len(c.grants) > 0 {
		p.plain("    grants: %s", list(c.grants))
	}
	c.renderFiles(p)
	p.section("    ", "syscalls", c.calls)
	p.section("    ", "capabilities", c.capabilities)
	if len(c.limits) > 0 {
		p.plain("    limits:")
		for _, limit := range c.limits {
			p.entry("      ", limit)
		}
	}
	if len(c.inherited) > 0 {
		p.plain("    # Which of these it reads cannot be seen: remove what it does not need.")
		p.plain("    environment: %s", list(c.inherited))
	}
	if c.options.Base != "" && len(p.lines) == before && len(c.grants) == 0 {
		p.plain("    {}")
	}
}

func (c *component) renderFiles(p *printer) {
	some := c.proc != nil || c.replaced
	for _, lines := range c.files {
		some = some || len(lines) > 0
	}
	if !some {
		return
	}
	inner := &printer{lines: map[int]*line{}}
	inner.count = p.count + 1
	for _, key := range []string{"read", "write", "execute", "libraries", "devices"} {
		inner.section("      ", key, c.files[key])
	}
	temporary := c.files["temporary"]
	if c.replaced {
		// The profile's own are more than was used.
		kept := 0
		for _, l := range temporary {
			if l.refused == "" {
				kept++
			}
		}
		if kept == 0 {
			inner.plain("      temporary: {replace: []}")
			for _, l := range temporary {
				inner.entry("      ", l)
			}
		} else {
			inner.plain("      temporary:")
			inner.section("        ", "replace", temporary)
		}
	} else {
		inner.section("      ", "temporary", temporary)
	}
	if c.proc != nil {
		inner.entry("      ", c.proc)
	}
	if len(inner.lines) > 0 || c.replaced {
		p.plain("    files:")
	} else {
		inner.count--
	}
	p.text.WriteString(inner.text.String())
	p.count = inner.count
	for number, l := range inner.lines {
		p.lines[number] = l
	}
}
