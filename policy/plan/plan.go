// Package plan holds the compiled policy: complete, explicit, with no
// defaults left to fill in and no YAML in it.
//
// The launcher compiles a Plan once (policy.Compile), and from then on it is
// the only description of the application that anybody reads: the builder of
// compartments, the monitor and the supervisor each take the part they need.
// This package imports nothing but the standard library's leaves, because the
// monitor links it.
package plan

import (
	"net"
	"slices"
	"strconv"
	"time"
)

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

// User is who the worker is, inside and (where HostIDs maps it) outside.
type User struct {
	Name   string   `json:"name"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home"`
}

// HostIDs are the ids that the compartment's user namespace maps to.
// See user_namespaces(7).
type HostIDs struct {
	// Init and InitGroup are the host ids of the compartment's own root, which
	// only the init is: for root's applications a number that owns nothing on the
	// host, for an ordinary user's that user.
	Init      uint32 `json:"init"`
	InitGroup uint32 `json:"init-group"`
	// UID and GID are the host ids of the worker.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Groups are the host ids of User.Groups, in the same order.
	Groups []uint32 `json:"groups,omitempty"`
	// Become are the users that the program may change to.
	Become []Account `json:"become,omitempty"`
	// Ordinary: it is an ordinary user who runs the application.
	Ordinary bool `json:"ordinary,omitempty"`
	// Shared says why the worker is that user too: "" where it has an id of
	// its own.
	Shared string `json:"shared,omitempty"`
}

// HasUser says whether a worker may be that user of the host.
func (h *HostIDs) HasUser(uid uint32) bool {
	return uid == h.UID || slices.ContainsFunc(h.Become, func(a Account) bool { return a.HostUID == uid })
}

// HasGroup says whether a worker's group may be that group of the host.
func (h *HostIDs) HasGroup(gid uint32) bool {
	return gid == h.GID || slices.ContainsFunc(h.Become, func(a Account) bool { return a.HostGID == gid })
}

// Account is a user of the host, with its first group. HostUID and HostGID are
// who it is outside: the same, or in an ordinary user's application ids of that
// user's that stand for it.
type Account struct {
	Name    string `json:"name"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Home    string `json:"home"`
	HostUID uint32 `json:"host-uid"`
	HostGID uint32 `json:"host-gid"`
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

// Proc says what /proc a worker sees.
type Proc uint8

// The /proc views.
const (
	ProcNone Proc = iota + 1 // no /proc at all
	ProcOwn                  // its own processes only (proc(5), subset=pid)
	ProcFull                 // also the system-wide files, read-only, dangerous ones hidden
)

// EntryKind is a kind of Entry.
type EntryKind uint8

// The kinds of Entry.
const (
	EntryBind      EntryKind = iota + 1 // a file or directory of the host
	EntrySymlink                        // a symbolic link with text Source
	EntryData                           // a read-only file with Content
	EntryTemporary                      // an empty tmpfs of its own for each worker
	EntryDevice                         // a device node of the host
	EntryHidden                         // an empty, unreadable place over something that a bind shows
	EntryDirectory                      // an empty read-only directory
	EntryStub                           // the stub, in the place of a program that another component replaces
)

// Access is what may be done with an Entry or a file grant; a bit set.
type Access uint8

// The access bits.
const (
	Read    Access = 1 << iota // open for reading, list
	Write                      // open for writing, create, remove
	Execute                    // execve
	Append                     // open for writing at the end only
)

// Entry is one thing that exists in a compartment's root file system. Entries
// are sorted by Target, so that parents stand before children.
type Entry struct {
	Kind     EntryKind `json:"kind"`
	Source   string    `json:"source,omitempty"` // host path (bind, device), link text (symlink)
	Target   string    `json:"target"`           // absolute, clean path inside
	Dir      bool      `json:"dir,omitempty"`    // Source is a directory
	Access   Access    `json:"access,omitempty"`
	Content  string    `json:"content,omitempty"` // EntryData
	Size     uint64    `json:"size,omitempty"`    // EntryTemporary: bytes
	Mode     uint32    `json:"mode,omitempty"`    // EntryTemporary, EntryData: permission bits
	Reason   string    `json:"reason"`            // "needed by /usr/bin/djpeg", "files.read"
	Position Position  `json:"position"`
}

// Action is what a filter does with a call.
type Action uint8

// The actions.
const (
	Allow  Action = iota + 1
	Errno         // fails with Rule.Errno, unseen by anybody
	Refuse        // the monitor is told, answers EPERM and reports a denial
	Broker        // the monitor performs the call in the worker's place
	Kill          // the process dies by SIGSYS
)

// Syscalls is the filter before it is compiled. Calls that no rule matches
// get Default.
type Syscalls struct {
	Default Action `json:"default"`
	Rules   []Rule `json:"rules"`
	// Program is the compiled filter, an array of struct sock_filter in host
	// byte order, filled in once by sandbox.CompileFilters.
	Program []byte `json:"program,omitempty"`
}

// Rule applies Action to one system call when all Conditions hold. With Broker,
// Errno is what a call on files gets that no grant answers; 0 leaves it to the
// kernel and the compartment's other walls.
type Rule struct {
	Call       string      `json:"call"`
	Action     Action      `json:"action"`
	Errno      int32       `json:"errno,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Comparison compares an argument with a value.
type Comparison uint8

// The comparisons, as in seccomp_rule_add(3).
const (
	Equal Comparison = iota + 1
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
	MaskedEqual // argument & Mask == Value
)

// Condition is one condition on a call's argument.
type Condition struct {
	Argument   uint       `json:"argument"` // from 0
	Comparison Comparison `json:"comparison"`
	Value      uint64     `json:"value"`
	Mask       uint64     `json:"mask,omitempty"`
}

// Holds says whether the condition holds for a value of its argument, as
// seccomp_rule_add(3) has it.
func (c Condition) Holds(value uint64) bool {
	switch c.Comparison {
	case Equal:
		return value == c.Value
	case NotEqual:
		return value != c.Value
	case Less:
		return value < c.Value
	case LessOrEqual:
		return value <= c.Value
	case Greater:
		return value > c.Value
	case GreaterOrEqual:
		return value >= c.Value
	case MaskedEqual:
		return value&c.Mask == c.Value
	}
	return false
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

// GrantKind is a kind of descriptor.
type GrantKind uint8

// The kinds of grant.
const (
	GrantFile GrantKind = iota + 1
	GrantDirectory
	GrantListen
	GrantConnect
	GrantDevice
	GrantChannel
)

// Grant is a named right to one kind of descriptor.
type Grant struct {
	Name     string    `json:"name"`
	Kind     GrantKind `json:"kind"`
	Path     string    `json:"path,omitempty"`    // file, directory, device
	Access   Access    `json:"access,omitempty"`  // file, directory, device
	Create   bool      `json:"create,omitempty"`  // file: made when it is not there
	Mode     uint32    `json:"mode,omitempty"`    // of files and unix sockets that are made
	Network  string    `json:"network,omitempty"` // "tcp", "udp", "unix", "unix-datagram"
	Address  string    `json:"address,omitempty"` // numeric IP address, or a path, or "@abstract"
	Host     string    `json:"host,omitempty"`    // connect: a name to resolve instead of Address
	Port     uint16    `json:"port,omitempty"`
	Backlog  int       `json:"backlog,omitempty"`
	Answers  Answers   `json:"answers,omitempty"` // listen, udp: to whom the socket may send
	Peer     string    `json:"peer,omitempty"`    // channel: the other component
	Position Position  `json:"position"`
}

// Socket is the address of a listening or connecting grant as a policy writes it:
// tcp:[::1]:8080, tcp:db.example.org:5432, unix:/run/x.
func (g *Grant) Socket() string {
	host := g.Address
	switch {
	case g.Network == "unix" || g.Network == "unix-datagram":
		return g.Network + ":" + g.Address
	case g.Host != "":
		host = g.Host
	}
	return g.Network + ":" + net.JoinHostPort(host, strconv.Itoa(int(g.Port)))
}

// Answers says to whom a listening socket for datagrams may send.
type Answers uint8

// The answers.
const (
	AnswerAskers Answers = iota + 1 // to whoever has sent something to it
	AnswerAnyone
)

// Binding is a grant in the hands of a component.
type Binding struct {
	Grant  int `json:"grant"`  // index into Plan.Grants
	Number int `json:"number"` // descriptor number at start, -1: on request only
}

// Restart says after which ends a component is started again.
type Restart uint8

// The restart policies.
const (
	RestartNever Restart = iota + 1
	RestartOnFailure
	RestartAlways
)

// ReadyKind says how a component shows that it is ready.
type ReadyKind uint8

// The readiness protocols.
const (
	ReadyAtOnce  ReadyKind = iota + 1 // as soon as its program runs
	ReadyNotify                       // READY=1 on NOTIFY_SOCKET, or the client library's ready
	ReadyFD                           // a newline on descriptor Ready.Number
	ReadyConnect                      // the socket of grant Ready.Grant accepts a connection
	ReadyCommand                      // Ready.Command ends with 0
)

// Split is a program that another component replaces.
type Split struct {
	Path      string `json:"path"`      // in the root, where it is the stub
	Component string `json:"component"` // who replaces it
}

// Replaced is what runs in the place of one program.
type Replaced struct {
	Path      string   `json:"path"` // of the program that is replaced, without symbolic links
	Program   string   `json:"program"`
	Arguments []string `json:"arguments"` // argv, [0] included; the passed ones follow
	// Named: argv[0] is what the caller called it.
	Named bool `json:"named,omitempty"`
}

// Pass says what goes from a caller to the program that it executed. Patterns
// are texts with * for any text and ? for any character.
type Pass struct {
	Arguments   []string    `json:"arguments,omitempty"`   // patterns, each argument must match one; none: none is passed
	Environment []string    `json:"environment,omitempty"` // patterns of names
	Withheld    []string    `json:"withheld,omitempty"`    // patterns of names that pass only where Environment has them literally
	Descriptors Descriptors `json:"descriptors,omitempty"`
	Directories []string    `json:"directories,omitempty"` // whose descriptors may pass
	// KeepDirectory and KeepUmask: the plan's stay, whatever the caller's are.
	KeepDirectory bool `json:"keep-directory,omitempty"`
	KeepUmask     bool `json:"keep-umask,omitempty"`
}

// Descriptors are kinds of descriptors; a bit set.
type Descriptors uint8

// The kinds of descriptors.
const (
	PassFiles   Descriptors = 1 << iota // regular files of a file system
	PassPipes                           // pipes and FIFOs
	PassSockets                         // sockets
	PassDevices                         // devices, terminals among them
	PassMemory                          // memfd_create(2)
	PassEvents                          // eventfd, timerfd, signalfd, epoll, inotify
)

// PassWords are the words for the kinds of descriptors, by their bits' places.
var PassWords = []string{"files", "pipes", "sockets", "devices", "memory", "events"}

// Life is the life cycle of one component's worker.
type Life struct {
	Restart      Restart       `json:"restart"`
	Delay        time.Duration `json:"delay"` // before the first restart; doubles
	DelayMaximum time.Duration `json:"delay-maximum"`
	Ready        Ready         `json:"ready"`
	StopSignal   int32         `json:"stop-signal"`
	StopTimeout  time.Duration `json:"stop-timeout"`            // then SIGKILL
	Background   bool          `json:"background,omitempty"`    // the worker is there as long as any process of it
	Killable     bool          `json:"killable,omitempty"`      // without a connection it needs neither of the two
	ReloadSignal int32         `json:"reload-signal,omitempty"` // zero: it cannot reload
	Watchdog     time.Duration `json:"watchdog,omitempty"`
	After        []string      `json:"after,omitempty"`       // components that are ready before it starts
	AfterTried   []string      `json:"after-tried,omitempty"` // components that are ready before it starts, or whose start has failed
	Essential    bool          `json:"essential,omitempty"`   // its end ends the application, with its status
	Idle         time.Duration `json:"idle,omitempty"`        // OnDemand: without a connection for so long it is stopped; zero: it ends by itself
	Health       Health        `json:"health"`
	Finish       Finish        `json:"finish,omitzero"`
	OnExit       []Exit        `json:"on-exit,omitempty"` // ends for which Restart does not decide
}

// Order is all components that it starts after, and stops before.
func (l *Life) Order() []string { return slices.Concat(l.After, l.AfterTried) }

// HealthKind says how a component shows that it works.
type HealthKind uint8

// The health checks; zero is none.
const (
	HealthConnect HealthKind = iota + 1 // the socket of grant Health.Grant accepts a connection
	HealthHTTP                          // a request there is answered with a status from 200 to 399
	HealthCommand                       // Health.Command ends with 0
)

// Health is what a component that is ready must show again and again; none
// when Kind and Memory are zero.
type Health struct {
	Kind     HealthKind    `json:"kind,omitempty"`
	Grant    int           `json:"grant,omitempty"`
	Path     string        `json:"path,omitempty"` // of the request
	Command  []string      `json:"command,omitempty"`
	Memory   uint64        `json:"memory,omitempty"`   // bytes; more is a failed check, beside Kind
	Interval time.Duration `json:"interval,omitempty"` // between the end of one check and the next
	Timeout  time.Duration `json:"timeout,omitempty"`  // of one check
	Failures int           `json:"failures,omitempty"` // so many in a row, and it is restarted
}

// Finish is a command that runs after each end of a component's program.
type Finish struct {
	Command []string      `json:"command,omitempty"` // none: nothing runs
	Timeout time.Duration `json:"timeout,omitempty"` // then it is killed
}

// Exit is one way in which a program may end, and what follows.
type Exit struct {
	Signal bool       `json:"signal,omitempty"` // Code is a signal that killed it, else its exit status
	Code   uint32     `json:"code"`
	Action ExitAction `json:"action"`
}

// ExitAction is what follows the end of a program.
type ExitAction uint8

// The exit actions.
const (
	ExitRestart         ExitAction = iota + 1 // it is started again, as after a failure
	ExitStop                                  // it is done
	ExitFail                                  // it has failed for good
	ExitStopApplication                       // everything is stopped; the application's status is its own
)

// Ready is how a component shows that it is ready.
type Ready struct {
	Kind    ReadyKind     `json:"kind"`
	Number  int           `json:"number,omitempty"`
	Grant   int           `json:"grant,omitempty"`
	Command []string      `json:"command,omitempty"`
	Timeout time.Duration `json:"timeout"`
}

// Strategy says who else restarts when a member of a group does; the words
// are those of Erlang/OTP's supervisor(3).
type Strategy uint8

// The strategies.
const (
	OneForOne Strategy = iota + 1
	OneForAll
	RestForOne
)

// Group is a node of the supervision tree.
type Group struct {
	Name     string        `json:"name,omitempty"`
	Strategy Strategy      `json:"strategy"`
	Restarts int           `json:"restarts"`          // more than this …
	Within   time.Duration `json:"within"`            // … in this time, and the group fails
	Members  []string      `json:"members,omitempty"` // components, in order of start
	Groups   []Group       `json:"groups,omitempty"`
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
