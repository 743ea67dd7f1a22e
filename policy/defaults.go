package policy

import (
	"time"

	"bulkhead/policy/plan"
)

// What a policy means by saying nothing. The reference prints this table.
const (
	defaultMemory         Bytes = 512 << 20
	defaultProcesses            = 64
	defaultOpenFiles            = 1024
	defaultUmask          Bits  = 0o077
	defaultDirectory            = "/"
	defaultTemporary      Bytes = 16 << 20
	defaultFileMode       Bits  = 0o600
	defaultBacklog              = 511
	defaultStopSignal           = "SIGTERM"
	defaultStopTimeout          = 10 * time.Second
	defaultReadyTimeout         = 60 * time.Second
	defaultHealthInterval       = 10 * time.Second
	defaultHealthTimeout        = 3 * time.Second
	defaultHealthFailures       = 3
	defaultDelay                = 100 * time.Millisecond
	defaultDelayMaximum         = 30 * time.Second
	defaultWorkers              = 8
	defaultExecutions           = 64
	defaultQueue                = 64
	defaultRotate         Bytes = 10 << 20
	defaultKeep                 = 5
	defaultStrategy             = "one-for-one"
	defaultRestarts             = 5
	defaultWithin               = 10 * time.Second
)

// Default is one row of the table of defaults.
type Default struct {
	Key, Value, Why string
}

// Defaults is the table for the reference and for `sandbox explain`.
func Defaults() []Default {
	return []Default{
		{"directory", defaultDirectory, "it always exists"},
		{"umask", "077", "what a component makes is its own"},
		{"hostname", "the component's name", "the machine's name is nobody's business"},
		{"user", "somebody who exists nowhere else", "no file of the host belongs to it"},
		{"files.proc", "own", "libraries read their own process's files"},
		{"network", "none", "grants work without it"},
		{"transparent", "for sockets, with listen or connect grants; not for files", "programs need no change; looking at every path takes time"},
		{"limits.memory", sizeText(uint64(defaultMemory)), "one component cannot starve the machine"},
		{"limits.swap", "0", "a limit on memory that swaps is none"},
		{"limits.processes", "64", "no fork bombs"},
		{"limits.open-files", "1024", "the customary soft limit"},
		{"limits.core-size", "0", "a core dump holds secrets"},
		{"limits.locked-memory", "0", "locked memory is the machine's"},
		{"start", "with-application", ""},
		{"workers.maximum", "8 for per-request and per-connection, 64 for on-exec, else 1", ""},
		{"workers.queue", "64", "then callers get an error at once"},
		{"workers.ready-ahead", "0", ""},
		{"restart", "on-failure with the application, else never", "each request has its own worker anyway"},
		{"restart-delay", defaultDelay.String(), "doubles each time"},
		{"restart-delay-maximum", defaultDelayMaximum.String(), ""},
		{"ready", "at-once", ""},
		{"ready-timeout", "1m", ""},
		{"stop-signal", defaultStopSignal, ""},
		{"stop-timeout", "10s", "then it is killed"},
		{"health.interval", "10s", ""},
		{"health.timeout", "3s", ""},
		{"health.failures", itoa(defaultHealthFailures), "one may be chance"},
		{"essential", "true for the only with-application component", "an application of one is over with it"},
		{"output", "log", ""},
		{"logs", "terminal", ""},
		{"logs.rotate", sizeText(uint64(defaultRotate)), "with five older files 60M on the disk at most"},
		{"logs.keep", itoa(defaultKeep), ""},
		{"logs.full", "wait", "nothing is lost"},
		{"supervision.strategy", defaultStrategy, ""},
		{"supervision.restarts", "5", ""},
		{"supervision.within", "10s", ""},
		{"grant access", "read", ""},
		{"grant mode", "0600", ""},
		{"grant backlog", "511", ""},
		{"temporary size", sizeText(uint64(defaultTemporary)), ""},
	}
}

// limits fills in the defaults of limits.
func (c *componentCompiler) limits() plan.Limits {
	l := c.source.Limits
	return plan.Limits{
		Memory:       uint64(l.Memory.Or(defaultMemory)),
		Swap:         uint64(l.Swap.Value),
		Processes:    uint32(l.Processes.Or(defaultProcesses)),
		CPUShare:     uint32(l.CPUShare.Value),
		CPUQuota:     uint32(l.CPUQuota.Value),
		CPUTime:      l.CPUTime.Value,
		WallTime:     l.WallTime.Value,
		Requests:     uint32(l.Requests.Value),
		RequestBytes: uint64(l.RequestBytes.Value),
		OpenFiles:    uint32(l.OpenFiles.Or(defaultOpenFiles)),
		FileSize:     uint64(l.FileSize.Value),
		IOWeight:     uint32(l.IOWeight.Value),
		CoreSize:     uint64(l.CoreSize.Value),
		Locked:       uint64(l.Locked.Value),
	}
}

// sizeText writes bytes as a policy would.
func sizeText(bytes uint64) string {
	units := []string{"", "K", "M", "G", "T"}
	unit := 0
	for unit < len(units)-1 && bytes >= 1024 && bytes%1024 == 0 {
		bytes /= 1024
		unit++
	}
	return itoa(bytes) + units[unit]
}
