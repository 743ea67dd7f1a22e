// Package plan holds the compiled policy: complete, explicit, with no
// defaults left to fill in and no YAML in it.
//
// The launcher compiles a Plan once (policy.Compile), and from then on it is
// the only description of the application that anybody reads: the builder of
// compartments, the monitor and the supervisor each take the part they need.
// This package imports nothing but the standard library's leaves, because the
// monitor links it.
package plan

import "time"

// Plan is one application.
type Plan struct {
	Application string      `json:"application"`
	Source      string      `json:"source"`     // policy file, as messages should name it
	Grants      []Grant     `json:"grants"`     // referred to by index
	Components  []Component `json:"components"` // referred to by index
	Logs        []Log       `json:"logs,omitempty"`
	Supervision Group       `json:"supervision"` // the root of the supervision tree
	Control     Control     `json:"control"`
	Names       Names       `json:"names"`
	// Quiet keeps the broker from telling what goes as it should, for
	// programs whose own output is all that anybody wants to see.
	Quiet bool `json:"quiet,omitempty"`
}

// Position is a place in a policy file; the zero Position is "nowhere".
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`   // from 1
	Column int    `json:"column,omitempty"` // from 1
}

// Component is one program of the application and every wall round it.
type Component struct {
	Name     string   `json:"name"`
	Position Position `json:"position"`
	// Generation counts the compartments that reloads of the policy have
	// built for the component beside the first.
	Generation int `json:"generation,omitempty"`
	// Number is what the programs in the kernel know the component's present
	// compartment by; the launcher gives it out, and no two have the same.
	Number int `json:"number,omitempty"`

	// What runs.
	Program     string   `json:"program"`     // absolute path, the same outside and inside
	Arguments   []string `json:"arguments"`   // argv, [0] included
	Environment []string `json:"environment"` // NAME=value; nothing else is inherited
	Directory   string   `json:"directory"`   // working directory
	Umask       uint32   `json:"umask"`
	User        User     `json:"user"`
	Output      Output   `json:"output"`
	Log         string   `json:"log,omitempty"` // Name of one of Plan.Logs, "": the launcher's output

	// When it runs.
	Start    Start    `json:"start"`
	Workers  Workers  `json:"workers"`
	MayStart []string `json:"may-start,omitempty"` // names of components
	// Splits are the programs whose exec by this component starts a worker of
	// another one, sorted by Path; each is also in MayStart.
	Splits []Split `json:"splits,omitempty"`
	// Replaces are the programs in whose place this component runs, and Pass
	// is what reaches it from whoever executes one: OnExec only.
	Replaces []Replaced `json:"replaces,omitempty"`
	Pass     Pass       `json:"pass"`
	Life     Life       `json:"life"`

	// The walls.
	Root         []Entry  `json:"root"` // the whole file system that exists for it
	Proc         Proc     `json:"proc"`
	Hostname     string   `json:"hostname"`
	Capabilities []string `json:"capabilities,omitempty"` // kept ones, CAP_… names; normally none
	Syscalls     Syscalls `json:"syscalls"`
	Limits       Limits   `json:"limits"`
	HostNetwork  bool     `json:"host-network,omitempty"` // shares the host's network namespace
	Loopback     bool     `json:"loopback,omitempty"`     // has one in its own, and it is up
	Optional     []string `json:"optional,omitempty"`     // names of walls that may be missing
	Hosts        HostIDs  `json:"host-ids"`

	// The rights.
	Grants []Binding `json:"grants,omitempty"`
	// Transparent: socket, bind and connect of the unmodified program are
	// answered by the monitor out of Grants.
	Transparent bool `json:"transparent,omitempty"`
	// TransparentFiles: its calls on paths beneath its file and directory
	// grants are answered by the monitor too.
	TransparentFiles bool `json:"transparent-files,omitempty"`
}

// Start says what makes a worker of the component start.
type Start uint8

// The ways to start.
const (
	WithApplication Start = iota + 1 // one worker, up as long as the application
	PerConnection                    // one for each connection that a granted socket receives
	PerRequest                       // one for each request of a component that may start it
	OnExec                           // one for each exec by another component's program
	OnDemand                         // one worker, up from the first connection on until it is idle
)

// Output says where standard output and error of a worker go.
type Output uint8

// The outputs.
const (
	OutputLog     Output = iota + 1 // pipes that the supervisor reads
	OutputInherit                   // what the launcher itself has, standard input included
)

// LogKind says what a log is.
type LogKind uint8

// The kinds.
const (
	LogFile     LogKind = iota + 1
	LogJournald         // lines of one component, to the host's journald
)

// JournaldSocket takes datagrams, one for each entry of the host's journal
// (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const JournaldSocket = "/run/systemd/journal/socket"

// Log is a place that the output of components goes to.
type Log struct {
	Kind     LogKind       `json:"kind"`
	Name     string        `json:"name"`             // a file's path, else journald:COMPONENT
	Rotate   uint64        `json:"rotate,omitempty"` // bytes; then a new file begins
	Age      time.Duration `json:"age,omitempty"`    // then too; zero: however old
	Keep     int           `json:"keep,omitempty"`   // older files beside it
	Drop     bool          `json:"drop,omitempty"`   // on a full disk lines are lost and counted; else their writers wait
	Position Position      `json:"position"`
}

// Workers bounds how many workers a component has at once.
type Workers struct {
	Maximum    int `json:"maximum"`     // running at once
	Queue      int `json:"queue"`       // requests that wait for one of them
	ReadyAhead int `json:"ready-ahead"` // prepared in advance
}

// Limits bound one worker. Zero means that the policy sets no limit, except
// where a comment says otherwise.
type Limits struct {
	Memory       uint64        `json:"memory,omitempty"`       // bytes, cgroup
	Swap         uint64        `json:"swap,omitempty"`         // bytes beside Memory; zero is none
	Processes    uint32        `json:"processes,omitempty"`    // tasks, cgroup
	CPUShare     uint32        `json:"cpu-share,omitempty"`    // weight 1..10000 (100 is normal), cgroup
	CPUQuota     uint32        `json:"cpu-quota,omitempty"`    // percent of one processor, cgroup
	CPUTime      time.Duration `json:"cpu-time,omitempty"`     // RLIMIT_CPU, whole seconds
	WallTime     time.Duration `json:"wall-time,omitempty"`    // then SIGKILL by the monitor
	Requests     uint32        `json:"requests,omitempty"`     // a second, of all workers together; the monitor's
	RequestBytes uint64        `json:"requestBytes,omitempty"` // a second, likewise
	OpenFiles    uint32        `json:"open-files,omitempty"`   // RLIMIT_NOFILE
	FileSize     uint64        `json:"file-size,omitempty"`    // bytes, RLIMIT_FSIZE
	IOWeight     uint32        `json:"io-weight,omitempty"`    // 1..10000, cgroup v2
	CoreSize     uint64        `json:"core-size,omitempty"`    // bytes, RLIMIT_CORE; zero is none at all
	Locked       uint64        `json:"locked,omitempty"`       // bytes, RLIMIT_MEMLOCK; zero is none at all
}

// Names says how the hosts' names of grants are looked up.
type Names struct {
	Servers []string      `json:"servers,omitempty"` // ADDRESS:PORT; none: those of the machine
	Refresh time.Duration `json:"refresh"`           // from one look-up to the next
}

// Control says who may ask the supervisor.
type Control struct {
	ReadGroup uint32 `json:"read-group"`        // a group that may ask for status; 0 is root's
	Metrics   string `json:"metrics,omitempty"` // a listening grant on which the supervisor tells numbers
}
