package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
	"bulkhead/policy"
	"bulkhead/policy/plan"
)

// appliance is what `sandbox denials --apply` does for one application: the
// lines of its denials go into a drop-in beside its policy, after they were
// shown and somebody said yes. The policy file itself is never touched.
type appliance struct {
	status *control.Status
	file   string   // the policy
	set    []string // as `sandbox run` got it
	yes    bool
	paint  inspect.Paint
	in     *bufio.Reader

	dropIn string // its path
	old    string // its text, "" when it is not there
	loaded *policy.Policy
	plan   *plan.Plan
	all    bool // every line is added without a question
	none   bool // no further line is added
}

// proposal is a line and the denials that it would allow.
type proposal struct {
	component, line string
	denials         []control.Denial
}

// proposals groups denials by the line that would allow them.
func proposals(s *control.Status) []*proposal {
	var all []*proposal
	byLine := map[[2]string]*proposal{}
	for _, d := range s.Denials {
		key := [2]string{d.Component, d.Allow}
		if byLine[key] == nil {
			byLine[key] = &proposal{component: d.Component, line: d.Allow}
			all = append(all, byLine[key])
		}
		byLine[key].denials = append(byLine[key].denials, d)
	}
	return all
}

func (a *appliance) run() error {
	if len(a.status.Denials) == 0 {
		fmt.Printf("%s: nothing was refused\n", a.status.Application)
		return nil
	}
	if err := a.load(); err != nil {
		return err
	}
	drop, err := a.present()
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", a.paint.Title(a.status.Application+", policy "+a.file))
	// Without a terminal nothing is asked, and in the end nothing written; but a
	// script's log says what would be.
	a.all = a.yes || !terminal(os.Stdin)
	text := a.choose(drop).String()
	if a.old == "" && text == policy.NewDropIn(a.status.Application).String() || text == a.old {
		fmt.Printf("there is nothing to write into %s\n", a.dropIn)
		if a.old != "" {
			a.next()
		}
		return nil
	}
	after, afterPlan, err := a.compile(text)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s", lineDiff(a.dropIn, a.old, text, a.paint))
	fmt.Printf("\n%s\n", a.paint.Title("what that gives"))
	if err := policy.Diff(a.loaded, a.plan, after, afterPlan).Write(os.Stdout); err != nil {
		return err
	}
	if !a.yes {
		if !terminal(os.Stdin) {
			return errors.New("nothing is written: there is no terminal to ask at; --yes writes without asking")
		}
		if a.ask("\nwrite it? [y]es, [n]o: ", "yn") != 'y' {
			fmt.Println("nothing is written")
			return exit(1)
		}
	}
	if err := os.MkdirAll(filepath.Dir(a.dropIn), 0o755); err != nil {
		return fmt.Errorf("make the directory of drop-ins: %w", err)
	}
	if err := replaceFile(a.dropIn, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the drop-in: %w", err)
	}
	fmt.Println("wrote", a.dropIn)
	a.next()
	return nil
}

func (a *appliance) next() {
	fmt.Printf("the application goes on as before; in force with: sandbox reload %s\n", a.status.Application)
}

// load finds and compiles the policy as it is.
func (a *appliance) load() error {
	if a.file == "" {
		file, err := policyFileOf(a.status.Application)
		if err != nil {
			return err
		}
		a.file = file
	}
	var err error
	if a.file, err = filepath.Abs(a.file); err != nil {
		return err
	}
	if _, err := os.Stat(a.file); err != nil {
		return fmt.Errorf("the policy of application %q is not in a file (%s): sandbox wrap has none, its options allow more; else name the file with --policy", a.status.Application, a.status.Policy)
	}
	if a.loaded, a.plan, err = compileQuietly(a.file, policy.Options{Set: a.set}); err != nil {
		return err
	}
	if a.loaded.Application() != a.status.Application {
		return fmt.Errorf("%s describes application %q, not %q", a.file, a.loaded.Application(), a.status.Application)
	}
	// Late among the drop-ins: it adds to what the others say.
	a.dropIn = filepath.Join(policy.DropInDirectory(a.file), "90-denials-"+a.status.Application+".yaml")
	return nil
}

// present reads what was applied earlier.
func (a *appliance) present() (*policy.DropIn, error) {
	text, err := os.ReadFile(a.dropIn)
	if errors.Is(err, fs.ErrNotExist) {
		return policy.NewDropIn(a.status.Application), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the drop-in: %w", err)
	}
	a.old = string(text)
	d, err := policy.ParseDropIn(a.dropIn, a.status.Application, a.old)
	var problems *policy.Problems
	if err != nil && !errors.As(err, &problems) {
		err = fmt.Errorf("%s: %w; move it away", a.dropIn, err)
	}
	return d, err
}

func compileQuietly(file string, o policy.Options) (*policy.Policy, *plan.Plan, error) {
	loaded, loadError := policy.Load(file, o)
	if loaded == nil {
		return nil, nil, loadError
	}
	p, _, err := policy.Compile(loaded, policy.LocalHost())
	if err == nil {
		err = loadError
	}
	return loaded, p, err
}

// compile is the policy with another text of the drop-in.
func (a *appliance) compile(text string) (*policy.Policy, *plan.Plan, error) {
	return compileQuietly(a.file, policy.Options{Set: a.set, DropIns: map[string]string{a.dropIn: text}})
}

// choose shows each line with its denials and adds those that are right, where
// nobody says no. What would make a mistake of the policy is left out.
func (a *appliance) choose(d *policy.DropIn) *policy.DropIn {
	for _, p := range proposals(a.status) {
		fmt.Printf("  %s\n", a.paint.Title(p.component))
		for _, denial := range p.denials {
			fmt.Printf("    %d× %s: %s\n", denial.Count, inspect.Printable(denial.Tried), denial.Answer)
		}
		if a.none {
			fmt.Printf("      left out\n")
			continue
		}
		next := d.Copy()
		added, err := next.Allow(p.line, a.plan)
		if err == nil && len(added) > 0 {
			_, _, err = a.compile(next.String())
		}
		switch {
		case err != nil:
			fmt.Printf("      %s\n", a.paint.Maybe("left out: "+whyNot(err)))
			continue
		case len(added) == 0:
			fmt.Printf("      allowed by %s already\n", a.dropIn)
			continue
		}
		for _, line := range added {
			fmt.Printf("      adds %s\n", a.paint.Maybe(inspect.Printable(line)))
		}
		if !a.all {
			switch a.ask("      add it? [y]es, [n]o, [a]ll, [q]uit asking and leave the rest out: ", "ynaq") {
			case 'n':
				continue
			case 'a':
				a.all = true
			case 'q':
				a.none = true
				continue
			}
		}
		d = next
	}
	if a.status.MoreDenials > 0 {
		fmt.Printf("  and %d denials of further kinds that found no place\n", a.status.MoreDenials)
	}
	return d
}

// whyNot is the first mistake, in a line.
func whyNot(err error) string {
	var problems *policy.Problems
	if errors.As(err, &problems) && len(problems.List) > 0 {
		return inspect.Printable(problems.List[0].Message)
	}
	return inspect.Printable(err.Error())
}

// ask returns one of the letters; the end of the input is a no.
func (a *appliance) ask(question, letters string) byte {
	for {
		fmt.Print(question)
		line, err := a.in.ReadString('\n')
		if line = strings.ToLower(strings.TrimSpace(line)); line != "" && strings.Contains(letters, line[:1]) {
			return line[0]
		}
		if err != nil {
			fmt.Println()
			a.none = true
			return 'n'
		}
	}
}
