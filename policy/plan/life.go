package plan

import (
	"slices"
	"time"
)

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
