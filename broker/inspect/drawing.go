package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// drawing is the picture of a page: on the left what is outside, in the middle
// the monitor, on the right compartments with their walls. Every line is a
// descriptor or a right to one; those of grants go through the monitor, and one
// that nothing explains goes past it.
//
// It is worked out here, in the units of the SVG, and written by page.html.
type drawing struct {
	ID            string // prefix of what has one
	Title, Story  string // the story is for readers who do not see it
	Width, Height int
	Monitor       *drawnMonitor // nil in the picture of a single process
	Things        []drawnThing
	Boxes         []drawnBox
	Edges         []drawnEdge
}

// drawnMonitor is the bar that descriptors go through.
type drawnMonitor struct {
	X, Y, W, H   int
	Passes       []int // where they do, beneath Y
	Link, Says   string
	Figure, Word string
}

// drawnThing is something outside all compartments.
type drawnThing struct {
	X, Y, W, H           int
	InnerW, InnerH, EndX int
	Class                string // the grant's kind, open, or unexplained
	Name, Kind           string
	Text, Whole          string // what fits, and all of it
}

// drawnBox is a compartment. What is in it is measured from its corner.
type drawnBox struct {
	X, Y, W, H           int
	InnerW, InnerH, EndX int
	Link, Label          string
	Key                  string // the component's whole name
	Name, Program        string
	Status               string
	Figure, Word         string // the exposure
	ScoreX, ScoreMiddle  int
	Broken               bool // a wall is down, or something drifts
	Walls                []drawnWall
	Lines                []drawnLine
	head                 int // where the first line goes
}

// drawnWall is a cell of the row of walls.
type drawnWall struct {
	X, W, Middle int
	Short, Whole string
	Up           bool
}

// drawnLine is a line of a box, with a port at one of its sides.
type drawnLine struct {
	Y           int
	Port, PortY int    // in the picture; no port when zero
	Class       string // as a thing's, or starts, passed, control, drift
	Text, Whole string
	Right       string
	left        bool // where an edge from outside ends
	Open        bool // a descriptor is open, so the port is filled
}

// drawnEdge is a line between ports.
type drawnEdge struct {
	Class, Path string
	From, To    string // for tests and for readers
	Whole       string
}

// The measures of the picture. Letters are of one width, so that what fits can
// be counted: 0.61 of the font size is the widest monospace font in use.
const (
	thingWidth   = 350
	thingHeight  = 44
	thingGap     = 12
	monitorLeft  = 440
	monitorWidth = 120
	monitorCap   = 84
	boxLeft      = 650
	boxWidth     = 366
	boxPadding   = 14
	boxGap       = 22
	boxHead      = 128
	boxFoot      = 12
	lineHeight   = 21
	gutter       = 64
	margin       = 10
	textWidth    = 7.4 // of a letter of 12 units
)

// shortWalls are the names of walls that fit into a cell.
var shortWalls = map[string]string{
	"user namespace": "user", "mnt namespace": "mnt", "pid namespace": "pid", "net namespace": "net",
	"ipc namespace": "ipc", "uts namespace": "uts", "cgroup namespace": "cgrp", "identity": "id",
	"capabilities": "caps", "no-new-privileges": "nnp", "system calls": "sys", "memory limit": "mem", "process limit": "proc",
}

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

// place finds a place for each thing, near the ports that it leads to, and
// draws the edges.
func (s *sketch) place() {
	for k := range s.Boxes {
		s.Boxes[k].InnerW, s.Boxes[k].InnerH = s.Boxes[k].W-4, s.Boxes[k].H-4
	}
	bottom := max(s.y-boxGap, margin+monitorCap)
	height := func(t *sketchThing) int {
		sum := 0
		for _, p := range t.ports {
			sum += s.Boxes[p.box].Lines[p.line].PortY
		}
		return sum / len(t.ports)
	}
	slices.SortStableFunc(s.order, func(a, b *sketchThing) int {
		if a.loose != b.loose {
			return cmp.Compare(boolean(a.loose), boolean(b.loose))
		}
		return cmp.Compare(height(a), height(b))
	})
	top := margin
	if s.Monitor != nil {
		top += monitorCap + thingGap
	}
	at, bound := top, 0
	for k, t := range s.order {
		if t.loose {
			continue
		}
		bound = k + 1
		t.Y = max(at, height(t)-t.H/2)
		at = t.Y + t.H + thingGap
	}
	// What was pushed too far down goes up again, as far as there is room.
	low := max(bottom, top+bound*(thingHeight+thingGap)-thingGap)
	for k := bound - 1; k >= 0; k-- {
		t := s.order[k]
		t.Y = min(t.Y, low-t.H)
		low = t.Y - thingGap
	}
	if bound > 0 {
		last := s.order[bound-1]
		bottom = max(bottom, last.Y+last.H)
	}
	if s.Monitor != nil {
		s.Monitor.Y, s.Monitor.H = margin, bottom-margin
	}
	at = bottom + 2*thingGap
	for _, t := range s.order[bound:] {
		t.Y = at
		at += t.H + thingGap
		bottom = t.Y + t.H
	}
	s.Height = bottom + margin
	for _, t := range s.order {
		s.Things = append(s.Things, t.drawnThing)
		s.edges(t)
	}
	s.controls()
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// edges draws the lines of one thing: one to the monitor, and one from there to
// each port. Past the monitor goes what no grant explains.
func (s *sketch) edges(t *sketchThing) {
	x, y := t.X+t.W, t.Y+t.H/2
	through := s.Monitor != nil && !t.loose
	if through {
		s.Edges = append(s.Edges, drawnEdge{Class: t.Class, From: t.Name, To: "monitor", Whole: t.Whole,
			Path: fmt.Sprintf("M%d %dH%d", x, y, s.Monitor.X)})
		s.Monitor.Passes = append(s.Monitor.Passes, y-s.Monitor.Y)
		x = s.Monitor.X + s.Monitor.W
	}
	for _, p := range t.ports {
		b := &s.Boxes[p.box]
		l := &b.Lines[p.line]
		from := t.Name
		if through {
			from = "monitor"
		}
		s.Edges = append(s.Edges, drawnEdge{Class: t.Class, From: from, To: b.Key, Whole: l.Whole, Path: curve(x, y, l.Port, l.PortY, t.loose)})
	}
}

// curve goes from one side to the other. A loose one keeps low until it is past
// the monitor.
func curve(x, y, toX, toY int, loose bool) string {
	if loose {
		past := monitorLeft + monitorWidth + 16
		middle := (past + toX) / 2
		return fmt.Sprintf("M%d %dH%dC%d %d %d %d %d %d", x, y, past, middle, y, middle, toY, toX, toY)
	}
	middle := (x + toX) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x, y, middle, y, middle, toY, toX, toY)
}

// controls ties the supervisor to the monitor.
func (s *sketch) controls() {
	if s.Monitor == nil {
		return
	}
	for _, b := range s.Boxes {
		for _, l := range b.Lines {
			if l.Class == "control" {
				s.Edges = append(s.Edges, drawnEdge{Class: "control", From: b.Key, To: "monitor", Whole: l.Whole,
					Path: fmt.Sprintf("M%d %dH%d", l.Port, l.PortY, s.Monitor.X+s.Monitor.W)})
			}
		}
	}
}

// arcs draws what a component may start, in the gutter on the right.
func (s *sketch) arcs(all []drawnEdge) {
	port := func(component, text string) (y int, ok bool) {
		for k := range s.Boxes {
			b := &s.Boxes[k]
			if b.Key != component {
				continue
			}
			for _, l := range b.Lines {
				if l.Whole == Printable(text) {
					return l.PortY, true
				}
			}
			return b.Y + 24, true
		}
		return 0, false
	}
	for k, e := range all {
		from, ok := port(e.From, "may start "+e.To)
		to, known := port(e.To, "from "+e.From)
		if !ok || !known {
			continue
		}
		right := boxLeft + boxWidth
		lane := right + 16 + (gutter-24)*(k%6)/6
		turn := 8
		if to < from {
			turn = -8
		}
		e.Whole = e.From + " may start " + e.To
		e.Path = fmt.Sprintf("M%d %dH%dQ%d %d %d %dV%dQ%d %d %d %dH%d", right, from, lane-8, lane, from, lane, from+turn, to-turn, lane, to, lane-8, to, right+7)
		s.Edges = append(s.Edges, e)
		s.Edges = append(s.Edges, drawnEdge{Class: "tip", Path: fmt.Sprintf("M%d %dl8 -5v10z", right+1, to)})
	}
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

// fitting cuts the middle out of what is wider than the room: the ends of paths
// and addresses say most.
func fitting(s string, room int, letter float64) string {
	most := int(float64(room) / letter)
	if columns(s) <= most {
		return s
	}
	letters := []rune(s)
	head, tail := 0, len(letters)
	for width := 1; head < tail; {
		first := columns(string(letters[head]))
		if width += first; width > most {
			break
		}
		head++
		last := columns(string(letters[tail-1]))
		if width += last; width > most || head == tail {
			break
		}
		tail--
	}
	return string(letters[:head]) + "…" + string(letters[tail:])
}

// columns is how many letters' room a text takes: those of the far east are
// twice as wide, and so may be pictures.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x1100 && r != '…' {
			n++
		}
	}
	return n
}
