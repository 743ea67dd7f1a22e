package inspect

import (
	"fmt"
	"strings"
)

// Only keeps one component of the application that was looked at.
func (r *Report) Only(component string) error {
	for a := range r.Applications {
		app := &r.Applications[a]
		for c := range app.Components {
			if app.Components[c].Name == component {
				app.Components = app.Components[c : c+1]
				return nil
			}
		}
		return unknownComponent(app, component)
	}
	return nil
}

func unknownComponent(a *Application, component string) error {
	var names []string
	for c := range a.Components {
		names = append(names, a.Components[c].Name)
	}
	return fmt.Errorf("application %q has no component %q; it has %s", a.Name, component, strings.Join(names, ", "))
}

// Verification writes the drift and nothing else, a line for each.
func Verification(r *Report, paint Paint) string {
	if len(r.Applications) == 0 {
		return noneRuns
	}
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
