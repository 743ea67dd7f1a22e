package main

import (
	"errors"
	"html/template"
	"os"
)

// The page is drawn in units of the SVG's own view box, which the browser scales.
const (
	chartWidth = 1000
	labelWidth = 290
	valueWidth = 150
	rowHeight  = 26
)

// A chart is one group: bars of medians from zero, on a scale of the group's own.
type chart struct {
	Title    string
	Baseline string
	Together bool
	Width    int
	Height   int
	Label    int // where the bars begin
	Limit    int // where the baseline's bar ends: the line that the others are held against
	Bars     []bar
}

type bar struct {
	Line
	Y      int
	Width  int    // of the median
	Tick   int    // where the 99th percentile is, 0 when past the scale
	Value  string // what stands behind the bar
	ValueX int
	Kind   string // CSS class
}

// writeHTML writes one self-contained page: no script, no style and no image from elsewhere.
func (r *Report) writeHTML(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = page.Execute(file, struct {
		*Report
		Charts []*chart
	}{r, r.charts()})
	return errors.Join(err, file.Close())
}

func (r *Report) charts() []*chart {
	var charts []*chart
	longest := map[string]float64{}
	for _, line := range r.Lines {
		longest[line.Group] = max(longest[line.Group], line.Median)
	}
	for _, line := range r.Lines {
		if len(charts) == 0 || charts[len(charts)-1].Title != line.Group {
			charts = append(charts, &chart{Title: line.Group, Baseline: line.Baseline, Together: line.Together, Width: chartWidth, Label: labelWidth})
		}
		c := charts[len(charts)-1]
		c.add(line, longest[line.Group])
	}
	return charts
}

func (c *chart) add(line Line, longest float64) {
	b := bar{Line: line, Y: len(c.Bars) * rowHeight, Kind: "peer"}
	switch {
	case line.Skipped != "":
		b.Value = line.Skipped
	case line.Failed != "":
		b.Value = "failed"
	default:
		scale := float64(chartWidth-labelWidth-valueWidth) / longest
		b.Width = max(int(line.Median*scale), 1)
		if tick := int(line.P99 * scale); tick < chartWidth-labelWidth-valueWidth {
			b.Tick = labelWidth + tick
		}
		b.Value = duration(line.Median) + "  x " + line.ratio()
	}
	switch {
	case line.Ours:
		b.Kind = "ours"
	case line.Name == line.Baseline:
		b.Kind = "baseline"
		c.Limit = labelWidth + b.Width
	}
	b.ValueX = max(labelWidth+b.Width, b.Tick) + 8
	c.Bars = append(c.Bars, b)
	c.Height = len(c.Bars) * rowHeight
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"duration": duration,
	"ratio":    Line.ratio,
	"plus":     func(a, b int) int { return a + b },
}).Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Bulkhead: what isolation costs</title>
<style>
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #59636e; --back: #fff; --rule: #d1d9e0; --peer: #9aa7b4; --baseline: #4b5968; --ours: #0a7d55; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --quiet: #9198a1; --back: #0d1117; --rule: #3d444d; --peer: #57626e; --baseline: #a9b6c4; --ours: #3fb984; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
p, .quiet { color: var(--quiet); }
svg { width: 100%; height: auto; } svg text { font-size: 13px; fill: var(--text); }
.peer { fill: var(--peer); } .baseline { fill: var(--baseline); } .ours { fill: var(--ours); }
.tick { stroke: var(--text); stroke-width: 1.5; } .limit { stroke: var(--baseline); stroke-dasharray: 3 4; }
table { border-collapse: collapse; width: 100%; font-size: 13px; } th { text-align: left; font-weight: 600; }
td, th { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; } .number { text-align: right; white-space: nowrap; }
</style>
<h1>What isolation costs</h1>
<p>{{.Machine}}; {{.Rounds}} rounds, all cases side by side, {{.When}}.
Bars are medians; the stroke is the 99th percentile where it is on the scale; the dotted line is the group's baseline.
Only ratios carry over to another machine. Each group has its own scale.</p>
{{range .Charts}}
<h2>{{.Title}}</h2>
<svg viewBox="0 0 {{.Width}} {{.Height}}" role="img" aria-label="{{.Title}}">
{{- $c := . -}}
{{range .Bars}}
<g><title>{{.Isolation}}</title>
<text x="0" y="{{plus .Y 17}}">{{.Name}}</text>
{{- if .Width}}<rect class="{{.Kind}}" x="{{$c.Label}}" y="{{plus .Y 4}}" width="{{.Width}}" height="18"/>{{end}}
{{- if .Tick}}<line class="tick" x1="{{.Tick}}" x2="{{.Tick}}" y1="{{plus .Y 6}}" y2="{{plus .Y 20}}"/>{{end}}
<text x="{{.ValueX}}" y="{{plus .Y 17}}">{{.Value}}</text></g>
{{- end}}
{{- if .Limit}}<line class="limit" x1="{{.Limit}}" x2="{{.Limit}}" y1="0" y2="{{.Height}}"/>{{end}}
</svg>
<table>
<tr><th>case</th><th class="number">median</th><th class="number">{{if .Together}}a second{{else}}p99{{end}}</th><th class="number">ratio</th><th class="number">samples</th><th>isolation</th></tr>
{{- range .Bars}}
<tr><td>{{.Name}}</td>
{{- if .Samples}}<td class="number">{{duration .Median}}</td><td class="number">{{.Line.Second}}</td><td class="number">{{ratio .Line}}</td><td class="number">{{.Samples}}</td><td class="quiet">{{.Isolation}}</td>
{{- else}}<td colspan="5" class="quiet">{{.Skipped}}{{.Failed}}</td>{{end}}</tr>
{{- end}}
</table>
{{end}}
</html>
`))
