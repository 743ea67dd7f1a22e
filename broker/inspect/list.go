package inspect

import (
	"fmt"
	"strings"
)

const noneRuns = "no application runs\n"

// List writes one line for each component.
func List(r *Report, paint Paint) string {
	if len(r.Applications) == 0 {
		return noneRuns
	}
	t := NewTable("", "APPLICATION", "COMPONENT", "STATE", "UP", "RESTARTS", "WORKERS", "MEMORY", "WALLS", "GRANTS", "DENIALS", "EXPOSURE")
	for k := range t.rows[0] {
		t.rows[0][k] = paint.Title(t.rows[0][k])
	}
	for a := range r.Applications {
		app := &r.Applications[a]
		for c := range app.Components {
			t.Row(listRow(r, app, &app.Components[c], paint)...)
		}
	}
	text := t.String()
	for a := range r.Applications {
		for _, problem := range r.Applications[a].Problems {
			text += paint.Bad(r.Applications[a].Name+": not seen: "+problem) + "\n"
		}
	}
	return text
}

func listRow(r *Report, a *Application, c *Component, paint Paint) []string {
	up := "-"
	if !c.Since.IsZero() {
		up = Span(r.Time.Sub(c.Since))
	}
	return []string{
		a.Name, c.Name, stateWords(c.State, paint), up, fmt.Sprint(c.Restarts), fmt.Sprint(c.Running),
		bytesWords(c.Memory), c.wallWords(paint), c.grantWords(), denialWords(c.Denied, paint), c.exposureWords(paint),
	}
}

func stateWords(state string, paint Paint) string {
	switch state {
	case "running", "started":
		return paint.Good(state)
	case "failed":
		return paint.Bad(state)
	case "starting", "stopping":
		return paint.Maybe(state)
	}
	return state
}

func denialWords(n uint64, paint Paint) string {
	if n > 0 {
		return paint.Maybe(fmt.Sprint(n))
	}
	return "0"
}

// grantWords counts the grants that are in use, of all that it has.
func (c *Component) grantWords() string {
	if len(c.Grants) == 0 {
		return "-"
	}
	used := 0
	for _, g := range c.Grants {
		if g.Count > 0 || g.Open > 0 || g.Start && c.Running > 0 {
			used++
		}
	}
	return fmt.Sprintf("%d/%d", used, len(c.Grants))
}

// wallWords counts the walls that are up; the monitor has none by design, for
// it is what builds them.
func (c *Component) wallWords(paint Paint) string {
	if len(c.Drift) > 0 {
		return paint.Bad(fmt.Sprintf("DRIFT %d", len(c.Drift)))
	}
	if len(c.Walls) == 0 {
		return "-"
	}
	down := missing(c.Walls)
	text := fmt.Sprintf("%d/%d", len(c.Walls)-len(down), len(c.Walls))
	switch {
	case c.Name == "monitor":
		return text
	case len(down) == 0:
		return paint.Good(text)
	case len(down) <= 2:
		return paint.Maybe(text + " no " + strings.Join(down, ", "))
	}
	return paint.Bad(text)
}

func (c *Component) exposureWords(paint Paint) string {
	if c.Exposure == nil {
		return "-"
	}
	return c.Exposure.words(paint)
}

func (e *Exposure) words(paint Paint) string {
	text := fmt.Sprintf("%.1f %s", e.Figure, e.Word)
	switch e.Word {
	case "perfect", "safe", "ok":
		return paint.Good(text)
	case "medium":
		return paint.Maybe(text)
	}
	return paint.Bad(text)
}
