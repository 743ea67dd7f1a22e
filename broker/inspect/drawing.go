package inspect

// drawing is the picture of a page: on the left what is outside, in the middle
// the monitor, on the right compartments with their walls. Every line is a
// descriptor or a right to one; those of grants go through the monitor, and one
// that nothing explains goes past it.
//
// It is worked out in the units of the SVG (sketch.go, layout.go), and written by page.html.
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

// shortWalls are the names of walls that fit into a cell.
var shortWalls = map[string]string{
	"user namespace": "user", "mnt namespace": "mnt", "pid namespace": "pid", "net namespace": "net",
	"ipc namespace": "ipc", "uts namespace": "uts", "cgroup namespace": "cgrp", "identity": "id",
	"capabilities": "caps", "no-new-privileges": "nnp", "system calls": "sys", "memory limit": "mem", "process limit": "proc",
}
