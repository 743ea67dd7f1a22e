package inspect

import (
	"cmp"
	"fmt"
	"slices"
)

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
