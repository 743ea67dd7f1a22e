package inspect

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"
)

// A page is one file of HTML: styles and drawings are in it, scripts are not,
// and its content security policy lets a browser load and run nothing. What is
// in it was named by processes that may be hostile: html/template escapes it, and
// control and direction marks are taken out of the whole page when it is written.

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// Parsed when it is wanted: most commands never show a page.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes": bytesWords, "span": Span, "counted": counted, "list": listText,
		"limit":   func(l Limit) string { return l.words(decimal) },
		"memory":  func(l Limit) string { return l.words(bytesWords) },
		"percent": func(l Limit) string { return l.words(percent) },
		"ranges":  rangesText, "ids": ids, "words": func(d Descriptor) string { return d.words() }, "drift": func(d Drift) string { return d.String() },
		"capabilities": capabilitiesText, "up": func(all []Wall) int { return len(all) - len(missing(all)) },
		"calls": (*Calls).lines, "seccomp": func(s Seccomp) string { return s.words() },
		"sets":   func(c Capabilities) []namedSet { return c.sets() },
		"stamp":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"figure": func(f float64) string { return fmt.Sprintf("%.1f", f) },
		"adds":   func(f float64) string { return fmt.Sprintf("+%.2f", f) },
	}).Parse(pageText))
})

// Page is a report as it is shown by a browser.
type Page struct {
	Report  *Report
	Refresh time.Duration // the page is written again and again, so often
}

// pageData is what the template sees.
type pageData struct {
	Style        template.CSS
	Title        string
	Refresh      int // seconds, 0 for never
	Time         time.Time
	Kernel       Kernel
	Applications []pageApplication
	Drifts       int
	Problems     []string
	Process      *pageProcess
	Drawing      *drawing // of Process
	Exposure     *Exposure
}

type pageApplication struct {
	*Application
	ID         string
	Up         time.Duration
	Drawing    *drawing
	Components []pageComponent
	Drifts     int
}

type pageComponent struct {
	*Component
	ID        string
	Up        string
	Processes []pageProcess
	Reaches   []Reach // what a compromise could reach
}

type pageProcess struct {
	*Process
	ID     string
	Worker string
	Own    bool // of an application, whose descriptors must be explained
}

// Write writes the page.
func (p *Page) Write(out io.Writer) error {
	d := &pageData{
		Style: template.CSS(pageStyle), Time: p.Report.Time, Kernel: p.Report.Kernel,
		Refresh: int((p.Refresh + time.Second - 1) / time.Second),
		Drifts:  len(p.Report.Drifts()), Problems: p.Report.Problems(),
	}
	var names []string
	for k := range p.Report.Applications {
		a := newPageApplication(p.Report, k)
		d.Applications = append(d.Applications, a)
		names = append(names, a.Name)
	}
	d.Title = "Bulkhead: " + strings.Join(names, ", ")
	switch {
	case p.Report.Process != nil:
		d.Title = fmt.Sprintf("Bulkhead: process %d", p.Report.Process.PID)
		d.Drawing = drawProcess(p.Report.Process)
		d.Process = &pageProcess{Process: p.Report.Process, ID: "process", Own: p.Report.Process.Of != ""}
	case len(names) == 0:
		d.Title = "Bulkhead: no application runs"
	case len(names) > 3:
		d.Title = fmt.Sprintf("Bulkhead: %d applications", len(names))
	}
	var b strings.Builder
	err := pageTemplate().Execute(&b, d)
	for line := range strings.Lines(b.String()) {
		if err == nil {
			_, err = io.WriteString(out, Printable(strings.TrimSuffix(line, "\n"))+"\n")
		}
	}
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func newPageApplication(r *Report, number int) pageApplication {
	source := &r.Applications[number]
	a := pageApplication{Application: source, ID: fmt.Sprintf("a%d", number+1)}
	if !source.Started.IsZero() {
		a.Up = r.Time.Sub(source.Started)
	}
	link := func(component int) string { return fmt.Sprintf("#%s-c%d", a.ID, component+1) }
	a.Drawing = drawApplication(source, a.ID, link)
	for k := range source.Components {
		c := pageComponent{Component: &source.Components[k], ID: link(k)[1:], Up: "-"}
		if !c.Since.IsZero() {
			c.Up = Span(r.Time.Sub(c.Since))
		}
		a.Drifts += len(c.Drift)
		for w := range c.Workers {
			worker := &c.Workers[w]
			for n := range worker.Processes {
				if p := &worker.Processes[n]; !p.ofInit() {
					c.Processes = append(c.Processes, pageProcess{p, fmt.Sprintf("%s-p%d", c.ID, p.PID), worker.Name, p.Role != "monitor"})
				}
			}
		}
		if c.plan != nil && c.Name != "supervisor" {
			one := Report{Applications: r.Applications[number : number+1]}
			if radius, err := one.BlastRadius(c.Name); err == nil {
				c.Reaches = radius.Reaches
			}
		}
		a.Components = append(a.Components, c)
	}
	return a
}

func listText(names []string) string {
	return orNone(strings.Join(names, " "))
}
