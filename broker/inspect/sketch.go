package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// sketch collects boxes first, because they decide where everything else goes.
type sketch struct {
	*drawing
	things map[string]*sketchThing // by name
	order  []*sketchThing
	y      int
}

// sketchThing is a thing that has no place yet.
type sketchThing struct {
	drawnThing
	ports []sketchPort
	loose bool // past the monitor
}

type sketchPort struct{ box, line int }

func newSketch(id, title string) *sketch {
	return &sketch{drawing: &drawing{ID: id, Title: title, Width: boxLeft + boxWidth + gutter}, things: map[string]*sketchThing{}, y: margin}
}

// drawApplication draws the compartments of an application. link gives the
// place in the page where a component is described.
func drawApplication(a *Application, id string, link func(component int) string) *drawing {
	s := newSketch(id, "What application "+Printable(a.Name)+" is made of")
	arcs := []drawnEdge{}
	for k := range a.Components {
		c := &a.Components[k]
		if c.Name == "monitor" {
			s.Monitor = &drawnMonitor{X: monitorLeft, W: monitorWidth, Link: link(k), Says: Printable(c.State)}
			if c.Exposure != nil {
				s.Monitor.Figure, s.Monitor.Word = fmt.Sprintf("%.1f", c.Exposure.Figure), c.Exposure.Word
			}
			continue
		}
		s.component(c, link(k))
		for _, name := range c.MayStart {
			arcs = append(arcs, drawnEdge{Class: "starts", From: c.Name, To: name})
		}
	}
	s.place()
	s.arcs(arcs)
	s.Story = s.story(a)
	return s.drawing
}

// drawProcess draws one process with what it has open.
func drawProcess(p *Process) *drawing {
	s := newSketch("p", fmt.Sprintf("Process %d and what it has open", p.PID))
	box := s.box("#process", p.Name, p.Executable, fmt.Sprintf("process %d, %s", p.PID, bytesWords(p.Resident)), p.Walls, p.Exposure, nil)
	const most = 40
	for k := range p.Descriptors {
		d := &p.Descriptors[k]
		if k == most {
			s.line(box, drawnLine{Class: "more", Text: fmt.Sprintf("and %d more", len(p.Descriptors)-most)})
			break
		}
		name := fmt.Sprintf("descriptor %d", d.Number)
		line := s.line(box, drawnLine{Class: "open", Text: name, Right: d.Access, left: true, Open: true})
		s.thing(name, drawnThing{Class: "open", Name: name, Kind: d.Kind, Whole: d.words()}, box, line, false)
	}
	s.place()
	s.Story = fmt.Sprintf("Process %d, %s, with %s open.", p.PID, wallsInWords(p.Walls), counted(len(p.Descriptors), "descriptor"))
	return s.drawing
}

func (s *sketch) component(c *Component, link string) {
	status := fmt.Sprintf("%s, %s, %s", c.State, counted(c.Running, "worker"), bytesWords(c.Memory))
	if c.Restarts > 0 {
		status += ", " + counted(c.Restarts, "restart")
	}
	box := s.box(link, c.Name, c.Program, status, c.Walls, c.Exposure, c.Drift)
	for k := range c.Grants {
		g := &c.Grants[k]
		right := ""
		switch {
		case g.Open > 0 && g.Count > 0:
			right = fmt.Sprintf("%d open, %d handed out", g.Open, g.Count)
		case g.Open > 0:
			right = fmt.Sprintf("%d open", g.Open)
		case g.Count > 0:
			right = fmt.Sprintf("%d handed out", g.Count)
		}
		class := cmp.Or(g.Kind, "open")
		line := s.line(box, drawnLine{Class: class, Text: g.Name, Right: right, left: true, Open: g.Open > 0})
		s.thing("grant "+g.Name, drawnThing{Class: class, Name: g.Name, Kind: g.Kind, Whole: g.Right}, box, line, false)
	}
	if c.Name == "supervisor" {
		s.line(box, drawnLine{Class: "control", Text: "asks for what the plan allows", left: true, Open: true})
	}
	for _, giver := range c.givers() {
		s.line(box, drawnLine{Class: "passed", Text: "from " + giver.name, Right: fmt.Sprintf("%d open", giver.count), Open: true})
	}
	for _, name := range c.MayStart {
		s.line(box, drawnLine{Class: "starts", Text: "may start " + name, Open: c.Running > 0})
	}
	s.drifts(box, c)
}

// drifts adds the differences; a descriptor that nothing explains gets an edge
// of its own.
func (s *sketch) drifts(box int, c *Component) {
	explained := map[string]string{}
	for p := range c.processes() {
		for k := range p.Descriptors {
			if d := &p.Descriptors[k]; d.From == "" && !p.ofInit() {
				explained[fmt.Sprintf("%d descriptor %d", p.PID, d.Number)] = d.words()
			}
		}
	}
	const most = 8
	for k := range c.Drift {
		d := &c.Drift[k]
		if k == most {
			s.line(box, drawnLine{Class: "drift", Text: fmt.Sprintf("⚠ and %d more", len(c.Drift)-most)})
			return
		}
		line := drawnLine{Class: "drift", Text: "⚠ " + d.Subject, Right: "drift", Whole: d.String(), Open: true}
		words, loose := explained[fmt.Sprintf("%d %s", d.PID, d.Subject)]
		line.left = loose
		at := s.line(box, line)
		if loose {
			name := fmt.Sprintf("%s of process %d", d.Subject, d.PID)
			s.thing(name, drawnThing{Class: "unexplained", Name: name, Kind: "no grant", Whole: words}, box, at, true)
		}
	}
}

// giver is a component whose descriptors another one has.
type giver struct {
	name  string
	count int
}

func (c *Component) givers() []giver {
	var all []giver
	for d := range c.descriptors() {
		after, ok := strings.CutPrefix(d.From, "passed by ")
		name, _, found := strings.Cut(after, " (")
		if !ok || !found {
			continue
		}
		k := slices.IndexFunc(all, func(g giver) bool { return g.name == name })
		if k < 0 {
			k, all = len(all), append(all, giver{name: name})
		}
		all[k].count++
	}
	return all
}

// box adds a compartment below the others and returns its index.
func (s *sketch) box(link, name, program, status string, walls []Wall, exposure *Exposure, drift []Drift) int {
	inner := boxWidth - 2*boxPadding
	b := drawnBox{
		X: boxLeft, Y: s.y, W: boxWidth, H: boxHead + boxFoot, head: boxHead, Link: link, Key: name, EndX: boxWidth - boxPadding,
		ScoreX: boxWidth - boxPadding - 100, ScoreMiddle: boxWidth - boxPadding - 50,
		Name: fitting(Printable(name), inner-110, 9.3), Program: fitting(Printable(program), inner, textWidth), Status: fitting(Printable(status), inner, textWidth),
		Broken: len(missing(walls)) > 0 || len(drift) > 0,
		Label:  Printable(name) + ", " + Printable(status) + ", " + wallsInWords(walls),
	}
	if len(walls) == 0 { // nothing runs
		b.head = boxHead - 40
		b.H -= 40
	}
	if exposure != nil {
		b.Figure, b.Word = fmt.Sprintf("%.1f", exposure.Figure), exposure.Word
		b.Label += ", exposure " + b.Figure + " " + b.Word
	}
	if len(drift) > 0 {
		b.Label += ", " + counted(len(drift), "difference") + " from the plan"
	}
	for k, w := range walls {
		left, right := k*(inner+2)/len(walls), (k+1)*(inner+2)/len(walls)-2
		b.Walls = append(b.Walls, drawnWall{X: boxPadding + left, W: right - left, Middle: boxPadding + (left+right)/2,
			Short: cmp.Or(shortWalls[w.Name], w.Name[:min(4, len(w.Name))]), Whole: w.Name + ": " + wallWord(w.Up) + ", " + Printable(w.Detail), Up: w.Up})
	}
	s.Boxes = append(s.Boxes, b)
	s.y += b.H + boxGap
	return len(s.Boxes) - 1
}

func wallWord(up bool) string {
	if up {
		return "up"
	}
	return "not up"
}

func wallsInWords(walls []Wall) string {
	if len(walls) == 0 {
		return "no walls that were looked at"
	}
	return fmt.Sprintf("%d of %d walls up", len(walls)-len(missing(walls)), len(walls))
}

// line adds a line to the last box, and returns its index.
func (s *sketch) line(box int, l drawnLine) int {
	b := &s.Boxes[box]
	l.Y = b.head + len(b.Lines)*lineHeight + 8
	switch {
	case l.left:
		l.Port = b.X
	case l.Class == "starts" || l.Class == "passed":
		l.Port = b.X + b.W
	}
	l.PortY = b.Y + l.Y - 4
	l.Whole = Printable(cmp.Or(l.Whole, l.Text))
	l.Right = fitting(Printable(l.Right), 170, textWidth)
	l.Text = fitting(Printable(l.Text), b.W-2*boxPadding-int(float64(columns(l.Right)+2)*textWidth), textWidth)
	b.Lines = append(b.Lines, l)
	b.H += lineHeight
	s.y += lineHeight
	return len(b.Lines) - 1
}

// thing adds a port to a thing of the left side.
func (s *sketch) thing(key string, t drawnThing, box, line int, loose bool) {
	known := s.things[key]
	if known == nil {
		t.X, t.W, t.H = margin, thingWidth, thingHeight
		t.InnerW, t.InnerH, t.EndX = t.W-2, t.H-2, t.W-boxPadding
		t.Whole = Printable(t.Whole)
		t.Text = fitting(t.Whole, thingWidth-2*boxPadding, textWidth)
		t.Kind = fitting(Printable(t.Kind), 110, textWidth)
		t.Name = fitting(Printable(t.Name), thingWidth-2*boxPadding-int(float64(columns(t.Kind)+2)*textWidth), textWidth)
		known = &sketchThing{drawnThing: t, loose: loose}
		s.things[key] = known
		s.order = append(s.order, known)
	}
	known.ports = append(known.ports, sketchPort{box, line})
}

// story says the picture in a few sentences.
func (s *sketch) story(a *Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The monitor stands between %s outside and %s.", counted(len(s.things), "thing"), counted(len(s.Boxes), "compartment"))
	for k := range a.Components {
		c := &a.Components[k]
		if c.Name == "monitor" {
			continue
		}
		fmt.Fprintf(&b, " %s: %s", Printable(c.Name), wallsInWords(c.Walls))
		if len(c.Grants) > 0 {
			var names []string
			for _, g := range c.Grants {
				names = append(names, Printable(g.Name))
			}
			fmt.Fprintf(&b, ", grants %s", strings.Join(names, ", "))
		}
		if len(c.MayStart) > 0 {
			fmt.Fprintf(&b, ", may start %s", Printable(strings.Join(c.MayStart, ", ")))
		}
		if len(c.Drift) > 0 {
			fmt.Fprintf(&b, ", %s from the plan", counted(len(c.Drift), "difference"))
		}
		b.WriteString(".")
	}
	return b.String()
}
