// Package control is the protocol of an application's control sockets: what
// `sandbox status`, `sandbox ctl` and their like ask the supervisor, and what
// it answers.
//
// There are two sockets of type SOCK_STREAM. File permissions decide who may
// do what, because the supervisor lives in a user namespace in which almost
// every peer's id reads as 65534:
//
//	control  0600, the broker's own user   every request
//	status   0660, the policy's read-group  the requests that change nothing
//
// Each side writes lines of JSON. The client writes a Request; the supervisor
// answers with any number of Reply lines that carry an Event or a Line and
// exactly one last Reply, with Done or Error set. Then the client may ask
// again on the same connection. A request is at most MaximumRequest bytes.
// A client that does not read what it asked for is dropped, with an Error
// that says so where there is still room for it: nothing that a client does
// delays anybody else.
package control

import "time"

// The bounds of the protocol, in bytes with the newline.
const (
	MaximumRequest = 4096
	MaximumReply   = 64 << 20
)

// Verb is what a client asks for.
type Verb string

// The verbs. Those of the first group change nothing and are all that the
// status socket answers.
const (
	AskStatus Verb = "status" // -> Reply.Status
	AskPS     Verb = "ps"     // -> Reply.Workers
	AskEvents Verb = "events" // the last Lines events; with Follow also those to come
	AskLogs   Verb = "logs"   // the last Lines lines of Component or of all; with Follow also those to come

	Start    Verb = "start"    // Component, and what it comes after
	Stop     Verb = "stop"     // Component; it stays down until it is started
	Restart  Verb = "restart"  // Component: stop, then start
	Reload   Verb = "reload"   // Component: its reload signal
	Signal   Verb = "signal"   // Signal to the Component's workers
	Destroy  Verb = "destroy"  // SIGKILL to every process of Component, which then is down
	Freeze   Verb = "freeze"   // Component: its processes stand still
	Thaw     Verb = "thaw"     // the end of Freeze
	Release  Verb = "release"  // Component stops as soon as no other comes after it
	Pin      Verb = "pin"      // Component stays Up, or down, whatever is asked
	Unpin    Verb = "unpin"    // the end of Pin
	Shutdown Verb = "shutdown" // the whole application, in order
)

// Verbs says of each verb whether it only reads and what it needs.
var Verbs = map[Verb]struct{ Reads, Component, Signal bool }{
	AskStatus: {Reads: true},
	AskPS:     {Reads: true},
	AskEvents: {Reads: true},
	AskLogs:   {Reads: true},
	Start:     {Component: true},
	Stop:      {Component: true},
	Restart:   {Component: true},
	Reload:    {Component: true},
	Signal:    {Component: true, Signal: true},
	Destroy:   {Component: true},
	Freeze:    {Component: true},
	Thaw:      {Component: true},
	Release:   {Component: true},
	Pin:       {Component: true},
	Unpin:     {Component: true},
	Shutdown:  {},
}

// Request is one line from the client.
type Request struct {
	Verb      Verb   `json:"verb"`
	Component string `json:"component,omitempty"`
	Signal    int    `json:"signal,omitempty"` // 1 to 64
	Lines     int    `json:"lines,omitempty"`  // how many of the past, at most what is kept
	Follow    bool   `json:"follow,omitempty"`
	Up        bool   `json:"up,omitempty"`   // Pin: up rather than down
	Wait      bool   `json:"wait,omitempty"` // Start, Stop, Restart, Destroy, Shutdown: answer when it is so
}

// Reply is one line from the supervisor.
type Reply struct {
	Done    bool     `json:"done,omitempty"`
	Error   string   `json:"error,omitempty"`
	Status  *Status  `json:"status,omitempty"`
	Workers []Worker `json:"workers,omitempty"`
	Event   *Event   `json:"event,omitempty"`
	Line    *Line    `json:"line,omitempty"`
}

// State is where a component stands in its life cycle; package supervisor
// explains what leads from one to the next.
type State string

// The states.
const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Started  State = "started"
	Running  State = "running"
	Failed   State = "failed"
	Stopping State = "stopping"
)

// Up says whether the component is ready in this state.
func (s State) Up() bool { return s == Started || s == Running }

// Status is everything about a running application.
type Status struct {
	Application string      `json:"application"`
	Policy      string      `json:"policy"`
	State       State       `json:"state"` // starting, running, stopping
	Cause       string      `json:"cause,omitempty"`
	Started     time.Time   `json:"started"`
	Now         time.Time   `json:"now"`
	Components  []Component `json:"components"`
	Groups      []Group     `json:"groups,omitempty"`
	Denials     []Denial    `json:"denials,omitempty"`
	MoreDenials uint64      `json:"more-denials,omitempty"` // that found no place in Denials
	Logs        []Log       `json:"logs,omitempty"`
}

// Component is one component of a Status.
type Component struct {
	Name      string     `json:"name"`
	Program   string     `json:"program"`
	Start     string     `json:"start"` // with-application, per-request, …
	State     State      `json:"state"`
	Since     time.Time  `json:"since"`
	Cause     string     `json:"cause,omitempty"` // of the last transition
	WaitsFor  []string   `json:"waits-for,omitempty"`
	After     []string   `json:"after,omitempty"`
	Essential bool       `json:"essential,omitempty"`
	Wanted    bool       `json:"wanted,omitempty"` // up, whatever it is
	Pinned    string     `json:"pinned,omitempty"` // up, down
	Frozen    bool       `json:"frozen,omitempty"`
	Released  bool       `json:"released,omitempty"`
	Says      string     `json:"says,omitempty"` // its own STATUS= text
	Health    string     `json:"health,omitempty"`
	Restarts  int        `json:"restarts"`
	RestartAt *time.Time `json:"restart-at,omitempty"`
	LastEnd   string     `json:"last-end,omitempty"` // in words
	LastEndAt *time.Time `json:"last-end-at,omitempty"`
	Workers   []Worker   `json:"workers,omitempty"` // at most MaximumWorkers
	Running   int        `json:"running"`           // how many workers there are
	Total     uint64     `json:"total"`             // that ever started
	Abnormal  uint64     `json:"abnormal"`          // that ended otherwise than with status 0
	Queue     int        `json:"queue"`             // requests that wait for a worker
	Processor uint64     `json:"processor"`         // microseconds, of ended workers
	Peak      uint64     `json:"peak"`              // bytes of resident memory at most, of ended workers
	Grants    []Grant    `json:"grants,omitempty"`
	Denied    uint64     `json:"denied"`
	Lines     []Line     `json:"lines,omitempty"` // the last few
}

// MaximumWorkers bounds the workers that a Status lists of one component.
const MaximumWorkers = 256

// Worker is one running process of a component.
type Worker struct {
	Worker    uint32    `json:"worker"`
	Component string    `json:"component"`
	PID       uint32    `json:"pid"` // on the host
	Started   time.Time `json:"started"`
	For       uint32    `json:"for,omitempty"` // the worker that asked for it
}

// Grant is how often a component got a descriptor of a grant.
type Grant struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
	Last  string `json:"last,omitempty"` // the object, last time
}

// Denial is a thing that workers of a component tried and were refused, with
// the policy line that would allow it.
type Denial struct {
	Component string    `json:"component"`
	Tried     string    `json:"tried"` // "socket(AF_NETLINK, SOCK_RAW, 0)"
	Answer    string    `json:"answer"`
	Allow     string    `json:"allow"` // "components.web.syscalls: [ptrace]"
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
}

// Log is a place that the output of components goes to.
type Log struct {
	Name    string `json:"name"`              // a file's path, or journald:COMPONENT
	Full    bool   `json:"full,omitempty"`    // it cannot be written at the moment
	Dropped uint64 `json:"dropped,omitempty"` // lines, where the policy drops them
}

// Group is a node of the supervision tree.
type Group struct {
	Name     string   `json:"name,omitempty"`
	Parent   string   `json:"parent,omitempty"`
	Strategy string   `json:"strategy"`
	Members  []string `json:"members,omitempty"`
	Restarts int      `json:"restarts"` // in the present window
	Limit    int      `json:"limit"`
	Within   string   `json:"within"`
}

// Event is something that happened.
type Event struct {
	Time      time.Time `json:"time"`
	Kind      EventKind `json:"kind"`
	Component string    `json:"component,omitempty"`
	Worker    uint32    `json:"worker,omitempty"`
	PID       uint32    `json:"pid,omitempty"`
	From      State     `json:"from,omitempty"` // EventState
	To        State     `json:"to,omitempty"`   // EventState
	Text      string    `json:"text"`           // the cause, in words
	Allow     string    `json:"allow,omitempty"`
}

// EventKind is a kind of Event.
type EventKind string

// The kinds of event.
const (
	EventState       EventKind = "state"       // a component's transition
	EventApplication EventKind = "application" // of the whole
	EventGroup       EventKind = "group"       // of a group of the supervision tree
	EventReload      EventKind = "reload"      // a changed policy is in force
	EventWorker      EventKind = "worker"      // a worker started or ended
	EventDenied      EventKind = "denied"
	EventGranted     EventKind = "granted" // told to followers, not kept
	EventQueue       EventKind = "queue"   // told to followers, not kept
	EventHealth      EventKind = "health"  // a health check failed
	EventSays        EventKind = "says"    // a component's own status text
)

// Line is one line of a component's output.
type Line struct {
	Time      time.Time `json:"time"`
	Component string    `json:"component"`
	Stream    int       `json:"stream"` // 1 or 2
	Text      string    `json:"text"`
	Broken    bool      `json:"broken,omitempty"` // the line goes on in the next one
}
