package policy

import (
	"time"

	"bulkhead/policy/plan"
)

// The types of this file are the language: the decoder, the suggestions, the
// JSON Schema and the reference in the docs are all read off their tags.
//
//	key     the key in the file
//	values  the words that a value may be, with | between
//	min,max the bounds of a number
//	kind    "path" (absolute), "name" (of a component or grant), "source"
//	        (a file's name, relative to the policy)
//	keys    "path": a map's keys are paths, else they are names
//	single  a list of one may be written without brackets
//	whole   merging replaces the list instead of adding to it
//	needed  leaving it out is a mistake
//	doc     one line for the reference and for editors

// File is a policy file.
type File struct {
	Application Text               `key:"application" kind:"name" needed:"true" doc:"The application's name: of its state directory, its cgroup and its messages."`
	Include     []Text             `key:"include" kind:"source" single:"true" doc:"Policy files, or profiles by their names, that this one builds on; what stands here wins."`
	Variables   Map[Text]          `key:"variables" doc:"Values for ${name} in any text."`
	Grants      Map[Grant]         `key:"grants" doc:"Rights to descriptors, by name."`
	Components  Map[Component]     `key:"components" needed:"true" doc:"The programs of the application, by name."`
	Supervision SupervisionSetting `key:"supervision" doc:"Who restarts with whom, and when it is too much."`
	Control     ControlSetting     `key:"control" doc:"Who may ask the supervisor."`
	Names       NameSetting        `key:"names" doc:"How the hosts' names of connect grants are looked up."`
	Logs        LogSetting         `key:"logs" doc:"Where the output of all components goes: terminal (the default), journald, or {file: PATH} with its bounds."`
}

// Grant is a named right to one kind of descriptor.
type Grant struct {
	Position  plan.Position
	Listen    Text   `key:"listen" kind:"address" doc:"A listening socket: tcp:ADDRESS:PORT, tcp:[ADDRESS]:PORT, udp:…, unix:/PATH, unix:@NAME or unix-datagram:/PATH."`
	Connect   Text   `key:"connect" kind:"address" doc:"Outgoing connections to one address; a host may be a name."`
	File      Text   `key:"file" kind:"path" doc:"One file."`
	Directory Text   `key:"directory" kind:"path" doc:"The files in a directory, asked for by name."`
	Device    Text   `key:"device" kind:"path" doc:"A device."`
	Access    Text   `key:"access" values:"read|write|append|read-write" doc:"What may be done with it; the default is read."`
	Create    Flag   `key:"create" doc:"The file is made when it is not there."`
	Mode      Octal  `key:"mode" doc:"Permission bits of a file or unix socket that is made; the default is 0600."`
	Answers   Text   `key:"answers" values:"askers|anyone" doc:"To whom a listening udp socket may send: those who have sent to it (the default), or anybody."`
	Backlog   Number `key:"backlog" min:"1" max:"65535" doc:"Connections that may wait; the default is 511."`
}

// Component is one program of the application.
type Component struct {
	Position     plan.Position
	Extends      []Text         `key:"extends" single:"true" doc:"Profiles, or ./FILE.yaml or ./FILE.yaml#COMPONENT, that this component builds on."`
	Command      []Text         `key:"command" whole:"true" doc:"The program, by its absolute path, and its arguments."`
	Directory    Text           `key:"directory" kind:"path" doc:"The working directory; the default is /."`
	Environment  Environment    `key:"environment" doc:"NAME: value, NAME: {from-file: PATH}, or a list of NAMEs to inherit. Nothing else is in it."`
	Umask        Octal          `key:"umask" doc:"The file mode creation mask; the default is 077."`
	Hostname     Text           `key:"hostname" doc:"What the program sees as the machine's name; the default is the component's name."`
	User         Text           `key:"user" doc:"A user of the host. Without it the worker is somebody who exists nowhere else."`
	Group        Text           `key:"group" doc:"A group of the host; the default is the user's."`
	Groups       []Text         `key:"groups" doc:"Further groups of the host."`
	Become       []Text         `key:"become" single:"true" doc:"Users of the host that the program may change to, and no others. Without user: it begins as a root who is nobody on the host."`
	Grants       []GrantUse     `key:"grants" doc:"Names of grants, or {NAME: {number: N}} or {NAME: {at-start: false}}."`
	Files        Files          `key:"files" doc:"What exists beside the program and its libraries."`
	Network      Text           `key:"network" values:"none|loopback|host" doc:"none: an empty network of its own; grants still work. loopback: the same with an interface, for programs that look for one. host: the machine's network."`
	Syscalls     []SyscallUse   `key:"syscalls" doc:"System calls beyond those that the other keys imply: names, @groups, {call: …} with a condition, {deny: […]}."`
	Capabilities []Text         `key:"capabilities" doc:"Capabilities that are kept, as CAP_NAME. Normally none."`
	Limits       LimitSettings  `key:"limits" doc:"Bounds for one worker."`
	Start        Text           `key:"start" values:"with-application|on-demand|per-connection|per-request|on-exec" doc:"What makes a worker start; the default is with-application."`
	Workers      WorkerSettings `key:"workers" doc:"How many workers there are at once."`
	MayStart     []Text         `key:"may-start" kind:"name" doc:"Per-request components whose workers this one may ask for, and on-exec components whose programs it may execute."`
	Replaces     []PathUse      `key:"replaces" single:"true" doc:"With start: on-exec, the programs in whose place this component runs: paths or patterns. Without a command each runs itself."`
	Pass         PassSetting    `key:"pass" doc:"With start: on-exec, what goes from whoever executes the program to it."`
	Transparent  Flag           `key:"transparent" doc:"The program's own calls are answered out of its grants: socket, bind and connect, which is the default where it has network grants, and with true those on paths beneath its file and directory grants."`
	Output       Text           `key:"output" values:"log|inherit" doc:"Where output goes: the log, or the launcher's own terminal."`
	Logs         LogSetting     `key:"logs" doc:"Where its log goes: terminal, journald, or {file: PATH} with its bounds; what is left out is as in the application's logs:."`
	Optional     []Text         `key:"optional" values:"landlock|cgroup|memory|swap|processes|cpu|io|addresses" doc:"Walls that may be missing where the kernel cannot build them."`
	Restart      Text           `key:"restart" values:"always|on-failure|never" doc:"After which ends it is started again."`
	RestartDelay Duration       `key:"restart-delay" doc:"Before the first restart; it doubles each time."`
	DelayMaximum Duration       `key:"restart-delay-maximum" doc:"The longest delay before a restart."`
	After        []AfterUse     `key:"after" single:"true" doc:"Components that are ready before this one starts; {NAME: tried} waits until NAME is ready or its start has failed, and does without it then."`
	Ready        ReadySetting   `key:"ready" whole:"true" doc:"How it shows that it is ready: at-once, notify, {fd: N}, {connect: GRANT} or {command: […]}."`
	ReadyTimeout Duration       `key:"ready-timeout" doc:"How long it may take to get ready."`
	StopSignal   Text           `key:"stop-signal" kind:"signal" doc:"What asks it to end; the default is SIGTERM."`
	StopTimeout  Duration       `key:"stop-timeout" doc:"How long it may take to end before it is killed."`
	Background   Flag           `key:"background" doc:"The program puts itself into the background, as old daemons do: the component is up as long as any process of it."`
	Killable     Flag           `key:"killable" doc:"At a stop it is killed at once, unless it has a connection at one of its sockets: then it is asked, and gets its stop-timeout."`
	ReloadSignal Text           `key:"reload-signal" kind:"signal" doc:"What asks it to read its configuration again."`
	Watchdog     Duration       `key:"watchdog" doc:"It is restarted when it does not say WATCHDOG=1 for this long."`
	Idle         Duration       `key:"idle" doc:"With start: on-demand, how long it stays up without a connection; without it, until it ends by itself."`
	Health       HealthSetting  `key:"health" doc:"What it must show again and again, or it is restarted."`
	OnExit       Map[Text]      `key:"on-exit" values:"restart|stop|fail|stop-application" doc:"What follows an exit status (0 to 255) or a signal (SIGNAME) that killed it, where restart: is not to decide."`
	Finish       []Text         `key:"finish" whole:"true" doc:"A command that runs in the compartment after each end of the program, with two more arguments: its exit status, 256 when a signal ended it, and that signal or 0. It is killed after 5s; status 125 means that the component has failed for good."`
	Essential    Flag           `key:"essential" doc:"When it ends for good, the application ends with its status."`
}

// Files are what exists beside the program's closure.
type Files struct {
	Read      []PathUse      `key:"read" single:"true" doc:"Files and directories to read."`
	Write     []PathUse      `key:"write" single:"true" doc:"Files and directories to read and write; never to execute."`
	Execute   []PathUse      `key:"execute" single:"true" doc:"Programs that may be started, each with its libraries, or directories of them."`
	Libraries []PathUse      `key:"libraries" single:"true" doc:"Shared objects that the program loads itself, as patterns; their libraries come with them."`
	Temporary []TemporaryUse `key:"temporary" single:"true" doc:"Empty directories in memory, new for each worker: a path or {path: PATH, size: SIZE}."`
	Content   Map[Text]      `key:"content" keys:"path" doc:"Small files that only the component sees: PATH: TEXT."`
	Hidden    []PathUse      `key:"hidden" single:"true" doc:"Parts of a directory named elsewhere here that stay invisible."`
	Devices   []PathUse      `key:"devices" single:"true" doc:"Devices to read and write."`
	Proc      Text           `key:"proc" values:"none|own|full" doc:"What /proc shows: nothing, its own processes (the default), also the system's files."`
}

// LimitSettings bound one worker.
type LimitSettings struct {
	Position     plan.Position
	Memory       Size     `key:"memory" doc:"Memory, as 64M."`
	Swap         Size     `key:"swap" doc:"Swap beside memory."`
	Processes    Number   `key:"processes" min:"1" max:"4000000" doc:"Processes and threads; more than 1 brings @process and @threads."`
	CPUShare     Number   `key:"cpu-share" min:"1" max:"10000" doc:"Weight against other components; 100 is normal."`
	CPUQuota     Percent  `key:"cpu-quota" doc:"Percent of one processor, as 50%."`
	CPUTime      Duration `key:"cpu-time" doc:"Processor time, in whole seconds; then it is killed."`
	WallTime     Duration `key:"wall-time" doc:"Time; then it is killed."`
	IOWeight     Number   `key:"io-weight" min:"1" max:"10000" doc:"Weight of its disk access; 100 is normal. It takes cgroup v2 and a kernel that weighs, or optional: [io]."`
	Requests     Number   `key:"requests" min:"1" max:"1000000" doc:"Requests to the monitor and calls that it answers, a second, of all workers together; more of them wait."`
	RequestBytes Size     `key:"request-bytes" doc:"Bytes of those requests, of paths and addresses in those calls, and of their results, a second; more of them wait."`
	OpenFiles    Number   `key:"open-files" min:"4" max:"1048576" doc:"Open descriptors."`
	FileSize     Size     `key:"file-size" doc:"The largest file that it may write."`
	CoreSize     Size     `key:"core-size" doc:"The largest core dump; the default is none."`
	Locked       Size     `key:"locked-memory" doc:"Memory that it may lock; the default is none."`
}

// WorkerSettings bound the number of workers.
type WorkerSettings struct {
	Position   plan.Position
	Maximum    Number `key:"maximum" min:"1" max:"10000" doc:"Workers at once."`
	Queue      Number `key:"queue" min:"0" max:"100000" doc:"Requests that may wait for one."`
	ReadyAhead Number `key:"ready-ahead" min:"0" max:"1000" doc:"Workers that are prepared in advance."`
}

// PassSetting says what passes from a caller to what it executed.
type PassSetting struct {
	Position    plan.Position
	Arguments   PassRule `key:"arguments" doc:"all (the default), none, or patterns of which each argument must match one."`
	Environment PassRule `key:"environment" doc:"all (the default), none, or patterns of names. Variables that steer the dynamic linker or an interpreter pass only where a pattern without * and ? names them."`
	Descriptors []Text   `key:"descriptors" values:"files|pipes|sockets|devices|memory|events|none" single:"true" whole:"true" doc:"Kinds of descriptors, passed at the same numbers; the default is files, pipes, sockets and devices."`
	Directories []Text   `key:"directories" kind:"path" single:"true" doc:"Directories whose descriptors may pass too."`
}

// PassRule is all, none, or a list of patterns.
type PassRule struct {
	Position plan.Position
	Word     Text
	Patterns []Text
}

// SupervisionSetting is a group of the supervision tree.
type SupervisionSetting struct {
	Position plan.Position
	Strategy Text                    `key:"strategy" values:"one-for-one|one-for-all|rest-for-one" doc:"Who restarts when one does."`
	Restarts Number                  `key:"restarts" min:"0" max:"1000000" doc:"More restarts than this …"`
	Within   Duration                `key:"within" doc:"… in this time, and the group fails."`
	Members  []Text                  `key:"members" kind:"name" doc:"Components of this group, in order of start."`
	Groups   Map[SupervisionSetting] `key:"groups" doc:"Groups inside this one, by name."`
}

// LogSetting is the word terminal or journald, or a map.
type LogSetting struct {
	Position plan.Position
	Word     Text
	How      LogFile
}

// LogFile is a file for output, and its bounds.
type LogFile struct {
	Position plan.Position
	File     Text     `key:"file" kind:"path" doc:"The file. Each line begins with the time, in UTC."`
	Rotate   Size     `key:"rotate" doc:"A larger file is renamed to FILE.1, that to FILE.2 and so on; the default is 10M."`
	Age      Duration `key:"age" doc:"An older one too."`
	Keep     Number   `key:"keep" min:"0" max:"1000" doc:"How many renamed files stay; the default is 5."`
	Full     Text     `key:"full" values:"wait|drop" doc:"On a full disk components wait until there is room (the default), or lines are dropped and counted."`
}

// NameSetting says how names are looked up.
type NameSetting struct {
	Position plan.Position
	Servers  []Text   `key:"servers" single:"true" doc:"Name servers, as 192.0.2.53 or 127.0.0.1:5353; the default are those of /etc/resolv.conf."`
	Refresh  Duration `key:"refresh" doc:"From one look-up to the next; the default is 30s."`
}

// ControlSetting says who may ask the supervisor.
type ControlSetting struct {
	ReadGroup Text `key:"read-group" doc:"A group of the host that may ask for the status."`
	Metrics   Text `key:"metrics" kind:"name" doc:"A listening grant of its own on which the supervisor answers GET /metrics, as Prometheus asks."`
}

// Value is a scalar with the place where it was written.
type Value[T any] struct {
	Value    T
	Position plan.Position
}

// IsSet says whether the policy has the value at all.
func (v Value[T]) IsSet() bool { return v.Position.Line > 0 }

// Or returns the value, or fallback where the policy has none.
func (v Value[T]) Or(fallback T) T {
	if v.IsSet() {
		return v.Value
	}
	return fallback
}

// Bytes is a number of bytes, written as 64K, 64M or 1G.
type Bytes uint64

// PercentOf is a percentage, written as 50%.
type PercentOf uint32

// Bits are permission bits, written in octal with a leading 0.
type Bits uint32

// The scalars of the language.
type (
	Text     = Value[string]
	Flag     = Value[bool]
	Number   = Value[int]
	Size     = Value[Bytes]
	Percent  = Value[PercentOf]
	Octal    = Value[Bits]
	Duration = Value[time.Duration]
)

// Map is a map of the language, in the order of the file.
type Map[T any] struct {
	Position plan.Position
	Entries  []MapEntry[T]
}

// MapEntry is one key of a Map.
type MapEntry[T any] struct {
	Name     string
	Position plan.Position
	Value    T
}

// Find returns the value of name.
func (m *Map[T]) Find(name string) (*T, bool) {
	for i := range m.Entries {
		if m.Entries[i].Name == name {
			return &m.Entries[i].Value, true
		}
	}
	return nil, false
}

// Names returns the keys in order.
func (m *Map[T]) Names() []string {
	names := make([]string, len(m.Entries))
	for i := range m.Entries {
		names[i] = m.Entries[i].Name
	}
	return names
}

// PathUse is a path, or {path: PATH, optional: true}.
type PathUse struct {
	Path     Text `key:"path" kind:"path" needed:"true" doc:"The path."`
	Optional Flag `key:"optional" doc:"It may be missing when the application starts."`
}

// TemporaryUse is a path, or {path: PATH, size: SIZE}.
type TemporaryUse struct {
	Path Text  `key:"path" kind:"path" needed:"true" doc:"The directory."`
	Size Size  `key:"size" doc:"How much it may hold; the default is 16M."`
	Mode Octal `key:"mode" doc:"Its permission bits; the default is 0700."`
}

// AfterUse is a component's name, which waits for it to be ready, or {NAME: ready} or
// {NAME: tried}.
type AfterUse struct {
	Name Text
	How  Text
}

// afterTag is that of AfterUse.How.
const afterTag = `values:"ready|tried"`

// Tried says that the component need not become ready.
func (u *AfterUse) Tried() bool { return u.How.Value == "tried" }

// GrantUse is a grant's name, or {NAME: {…}}.
type GrantUse struct {
	Name    Text
	Setting GrantUseSetting
}

// GrantUseSetting says how a component gets a grant.
type GrantUseSetting struct {
	Number  Number `key:"number" min:"0" max:"252" doc:"The descriptor's number at start."`
	AtStart Flag   `key:"at-start" doc:"Whether it is there at start, or only on request."`
}

// SyscallUse is a name, a @group, a call with a condition, or a denial.
type SyscallUse struct {
	Position plan.Position
	Name     Text
	Deny     []Text
	Call     SyscallCondition
}

// SyscallDenial is {deny: […]}.
type SyscallDenial struct {
	Deny []Text `key:"deny" single:"true" needed:"true" doc:"Calls and @groups that are taken away."`
}

// SyscallCondition allows a call when one of its arguments compares so.
type SyscallCondition struct {
	Call           Text   `key:"call" needed:"true" doc:"The call's name."`
	Argument       Number `key:"argument" min:"0" max:"5" needed:"true" doc:"Which argument is compared, from 0."`
	Equal          Text   `key:"equal" kind:"word64" doc:"The argument is this; with mask: its masked bits are."`
	NotEqual       Text   `key:"not-equal" kind:"word64" doc:"The argument is anything else."`
	Less           Text   `key:"less" kind:"word64" doc:"The argument is less."`
	LessOrEqual    Text   `key:"less-or-equal" kind:"word64" doc:"The argument is at most this."`
	Greater        Text   `key:"greater" kind:"word64" doc:"The argument is greater."`
	GreaterOrEqual Text   `key:"greater-or-equal" kind:"word64" doc:"The argument is at least this."`
	Mask           Text   `key:"mask" kind:"word64" doc:"Only these bits are compared; with equal."`
}

// Environment is the environment of a component.
type Environment struct {
	Variables []EnvironmentVariable
}

// EnvironmentVariable is one variable: a value, a file, or inherited.
type EnvironmentVariable struct {
	Name     string
	Position plan.Position
	Value    Text
	Source   EnvironmentSource
}

// EnvironmentSource is {from-file: PATH} or {inherit: true}.
type EnvironmentSource struct {
	FromFile Text `key:"from-file" kind:"path" doc:"The file's content, without a newline at its end, is the value."`
	Inherit  Flag `key:"inherit" doc:"The value is the launcher's own."`
}

// HealthSetting is one kind of check and its bounds.
type HealthSetting struct {
	Position plan.Position
	Connect  Text     `key:"connect" kind:"name" doc:"The socket of this listening grant accepts a connection."`
	HTTP     Text     `key:"http" kind:"name" doc:"A GET request to this listening grant is answered with a status from 200 to 399."`
	Path     Text     `key:"path" doc:"Of the request; the default is /."`
	Memory   Size     `key:"memory" doc:"It has no more memory of its own than this; alone, or beside one of the others."`
	Command  []Text   `key:"command" whole:"true" doc:"A program that ends with 0 as long as the component works."`
	Interval Duration `key:"interval" doc:"From one check to the next; the default is 10s."`
	Timeout  Duration `key:"timeout" doc:"How long one check may take; the default is 3s."`
	Failures Number   `key:"failures" min:"1" max:"1000" doc:"So many in a row, and it is restarted; the default is 3."`
}

// ReadySetting is a word or a map with one key.
type ReadySetting struct {
	Position plan.Position
	Word     Text
	How      ReadyHow
}

// ReadyHow is a ready: that needs a value.
type ReadyHow struct {
	FD      Number `key:"fd" min:"3" max:"252" doc:"A newline on this descriptor says ready."`
	Connect Text   `key:"connect" kind:"name" doc:"The socket of this listening grant accepts a connection."`
	Command []Text `key:"command" whole:"true" doc:"A program that ends with 0 when the component is ready."`
}
