package inspect

import (
	"fmt"
	"strings"
)

// Only keeps one component of the application that was looked at.
func (r *Report) Only(component string) error {
	for a := range r.Applications {
		var names []string
		for c := range r.Applications[a].Components {
			if r.Applications[a].Components[c].Name == component {
				r.Applications[a].Components = r.Applications[a].Components[c : c+1]
				return nil
			}
			names = append(names, r.Applications[a].Components[c].Name)
		}
		return fmt.Errorf("application %q has no component %q; it has %s", r.Applications[a].Name, component, strings.Join(names, ", "))
	}
	return nil
}

// Verification writes the drift and nothing else, a line for each.
func Verification(r *Report, paint Paint) string {
	var b strings.Builder
	for k := range r.Applications {
		a := &r.Applications[k]
		count := 0
		say := func(component, text string) {
			count++
			if component != "" {
				component = "/" + component
			}
			fmt.Fprintf(&b, "%s%s: %s\n", a.Name, component, paint.Bad(text))
		}
		for _, problem := range a.Problems {
			say("", "not seen: "+problem)
		}
		for d := range a.Drift {
			say("", a.Drift[d].String())
		}
		for c := range a.Components {
			for d := range a.Components[c].Drift {
				say(a.Components[c].Name, a.Components[c].Drift[d].String())
			}
		}
		if count == 0 {
			fmt.Fprintf(&b, "%s: %s\n", a.Name, paint.Good("the kernel has what the policy asks for"))
		}
	}
	return b.String()
}
