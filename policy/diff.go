package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"

	"bulkhead/policy/plan"
)

// Change is one right that a policy has and another one has not, or has to
// another extent.
type Change struct {
	Right
	Before string `json:"before,omitempty"` // the old extent, in words
}

// Difference is what one policy may and another may not.
type Difference struct {
	Added   []string `json:"added,omitempty"`   // new components
	Removed []string `json:"removed,omitempty"` // components that are gone
	Gained  []Change `json:"gained"`
	Lost    []Change `json:"lost"`
}

// Diff compares two compiled policies. A change that widens a right is a gain
// and one that narrows it a loss; one that does both is both.
func Diff(before *Policy, beforePlan *plan.Plan, after *Policy, afterPlan *plan.Plan) *Difference {
	old, current := before.rightsBySubject(beforePlan), after.rightsBySubject(afterPlan)
	cases := casesLeft(old, current)
	result := &Difference{Added: onlyIn(afterPlan, beforePlan), Removed: onlyIn(beforePlan, afterPlan), Gained: []Change{}, Lost: []Change{}}
	for subject, now := range current {
		then, known := old[subject]
		if !known {
			if !now.within(old) {
				result.only(now, !now.negative)
			}
			continue
		}
		if now.bits&^then.bits != 0 || now.amount > then.amount {
			result.Gained = append(result.Gained, Change{Right: now, Before: then.Text})
		}
		if then.bits&^now.bits != 0 || then.amount > now.amount {
			result.Lost = append(result.Lost, Change{Right: now, Before: then.Text})
		}
	}
	for subject, then := range old {
		if _, known := current[subject]; !known && !then.within(current) {
			if then.negative {
				then.Text = "no longer: " + then.Text
			}
			if n := cases[subject]; n > 0 {
				but := " but in one case of its arguments"
				if n > 1 {
					but = fmt.Sprintf(" but in %d cases of its arguments", n)
				}
				then.Text, then.call = then.Text+but, then.call+but
			}
			result.only(then, then.negative)
		}
	}
	sortChanges(result.Gained)
	sortChanges(result.Lost)
	return result
}

// whole is the subject of the same call whatever its arguments.
func (r *Right) whole() string {
	name, _, _ := strings.Cut(r.call, " ")
	return r.Component + "\x00" + r.Topic + " " + name + " "
}

// within says whether a call for some of its arguments is one for all of them
// among other rights, which says it all.
func (r *Right) within(others map[string]Right) bool {
	if r.call == "" {
		return false
	}
	whole, known := others[r.whole()]
	return known && whole.amount >= r.amount
}

// casesLeft counts what is left of calls that were allowed whatever their
// arguments.
func casesLeft(before, after map[string]Right) map[string]int {
	cases := map[string]int{}
	for subject, r := range after {
		if whole := r.whole(); r.call != "" && subject != whole && r.within(before) {
			cases[whole]++
		}
	}
	return cases
}

// onlyIn returns the components of one plan that another has not.
func onlyIn(pl, other *plan.Plan) []string {
	known := map[string]bool{}
	for i := range other.Components {
		known[other.Components[i].Name] = true
	}
	var names []string
	for i := range pl.Components {
		if name := pl.Components[i].Name; !known[name] {
			names = append(names, name)
		}
	}
	return names
}

// only enters a right that one of the two policies has.
func (d *Difference) only(r Right, gained bool) {
	if gained {
		d.Gained = append(d.Gained, Change{Right: r})
	} else {
		d.Lost = append(d.Lost, Change{Right: r})
	}
}

// rightsBySubject keeps the rights that are power, by what they are about.
func (p *Policy) rightsBySubject(pl *plan.Plan) map[string]Right {
	result := map[string]Right{}
	for i := range pl.Components {
		for _, r := range p.rights(pl, i) {
			if r.detail {
				continue
			}
			key := r.Component + "\x00" + r.subject
			if other, twice := result[key]; twice {
				r.bits |= other.bits
				r.amount = max(r.amount, other.amount)
			}
			result[key] = r
		}
	}
	return result
}

func sortChanges(changes []Change) {
	order := map[string]int{}
	for i, topic := range topics {
		order[topic] = i
	}
	sort.Slice(changes, func(i, j int) bool {
		a, b := &changes[i], &changes[j]
		if a.Component != b.Component {
			return a.Component < b.Component
		}
		if a.Topic != b.Topic {
			return order[a.Topic] < order[b.Topic]
		}
		return a.subject < b.subject
	})
}

// Write writes the difference in words; nothing when there is none.
func (d *Difference) Write(w io.Writer) error {
	out := &wordWriter{to: w}
	gained, lost := d.Gained, d.Lost
	for _, name := range d.Added {
		out.line("new component %s", name)
		gained = without(gained, func(c *Change) bool { return c.Component == name && c.common() })
	}
	for _, name := range d.Removed {
		out.line("component %s is gone, and all its rights", name)
		lost = without(lost, func(c *Change) bool { return c.Component == name })
	}
	writeChanges(out, "gained", "+", gained)
	writeChanges(out, "lost", "-", lost)
	return out.err
}

// common says whether a right is one that every component has.
func (c *Change) common() bool {
	return c.Why == "every component has it" || c.Why == "default" && c.call == "" || c.call != "" && contains(callsOf["default"], strings.Fields(c.call)[0])
}

func without(changes []Change, dropped func(*Change) bool) []Change {
	var kept []Change
	for i := range changes {
		if !dropped(&changes[i]) {
			kept = append(kept, changes[i])
		}
	}
	return kept
}

func writeChanges(out *wordWriter, heading, sign string, changes []Change) {
	if len(changes) == 0 {
		return
	}
	out.line("%s", heading)
	for i := 0; i < len(changes); i++ {
		c := &changes[i]
		if c.call == "" {
			text := c.Text
			if c.Before != "" {
				text += " (before: " + c.Before + ")"
			}
			out.row(sign+" "+c.Component+": "+text, "", c.Position)
			continue
		}
		// A group of calls that comes or goes is one line, not forty.
		calls := []string{c.call}
		for i+1 < len(changes) && changes[i+1].call != "" && changes[i+1].Component == c.Component {
			i++
			calls = append(calls, changes[i].call)
		}
		out.line("    %s %s: may call %s", sign, c.Component, strings.Join(inCases(calls), ", "))
	}
}

// inCases names a call once that stands there for many of its arguments: nobody
// reads them in a row, and `explain --seccomp` has each on a line.
func inCases(calls []string) []string {
	const readable = 2
	name := func(call string) string {
		name, _, _ := strings.Cut(call, " ")
		return name
	}
	var words []string
	for len(calls) > 0 {
		n := 1
		for n < len(calls) && name(calls[n]) == name(calls[0]) {
			n++
		}
		if n > readable {
			words = append(words, fmt.Sprintf("%s in %d cases of its arguments", name(calls[0]), n))
		} else {
			words = append(words, calls[:n]...)
		}
		calls = calls[n:]
	}
	return words
}

// WriteJSON writes the difference for programs.
func (d *Difference) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(d)
}
