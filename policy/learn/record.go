// Package learn turns what programs were seen to do into a policy.
//
// What was seen is a Record: it knows nothing of how it was observed, so
// records of several runs are added, kept in a file, and read again by a later
// version. Draft makes a policy of it, with a comment at each line on what it
// comes from. It asks the policy's own compiler what a policy allows already,
// and adds only what is missing: so what a program's libraries, its profile or
// a policy that exists bring is never written a second time.
package learn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
)

// Version is the version of the format of a record.
const Version = 1

// Record is what was seen in one or more runs.
type Record struct {
	Version  int                 `json:"version"`
	Runs     []Run               `json:"runs"`
	Programs map[string]*Program `json:"programs"` // by their path
}

// Run is one run that was observed.
type Run struct {
	Command     []string `json:"command"`              // the program by its absolute path, and its arguments
	Directory   string   `json:"directory"`            // where it was started
	Environment []string `json:"environment"`          // the names of what it was started with
	User        uint32   `json:"user"`                 // who it was started as
	Relative    bool     `json:"relative,omitempty"`   // it used paths that are relative to its directory
	Mechanism   string   `json:"mechanism,omitempty"`  // how it was observed
	Ended       string   `json:"ended"`                // "exit status 0", "signal: terminated"
	Failed      bool     `json:"failed,omitempty"`     // by itself, with another status than 0
	Stopped     bool     `json:"stopped,omitempty"`    // it was asked to end
	Background  bool     `json:"background,omitempty"` // what it started went on without it
	// Incomplete says what may be missing from the record; empty: nothing.
	Incomplete []string `json:"incomplete,omitempty"`
}

// Program is what the processes of one program did.
type Program struct {
	// Calls are system calls by name, with how often each was made.
	Calls map[string]uint64 `json:"calls,omitempty"`
	// Arguments are calls of which a filter looks at arguments: "ioctl 0x5413",
	// "socket 16 3 0", "setuid 33".
	Arguments map[string]uint64 `json:"arguments,omitempty"`
	// Paths are files and directories by the path that the program used.
	Paths map[string]*Path `json:"paths,omitempty"`
	// Sockets are "listen tcp:127.0.0.1:80", "connect unix:/run/x", "send udp:…".
	Sockets map[string]uint64 `json:"sockets,omitempty"`
	// Executes are the programs that it started.
	Executes map[string]uint64 `json:"executes,omitempty"`
	// Users are the ids of those whom it was executed as.
	Users map[string]uint64 `json:"users,omitempty"`
	// Directories are where it was executed.
	Directories map[string]uint64 `json:"directories,omitempty"`
	// Capabilities are those that the kernel asked for and found.
	Capabilities map[string]uint64 `json:"capabilities,omitempty"`
	Peak         Peak              `json:"peak"`
}

// Path is how one path was used.
type Path struct {
	Uses map[Use]uint64 `json:"uses"`
	Kind string         `json:"kind"`          // one of the kinds below
	New  bool           `json:"new,omitempty"` // the program made it
}

// Use is one way to use a path.
type Use string

// The ways to use a path.
const (
	Look    Use = "look"    // ask whether it is there, and what it is
	Read    Use = "read"    // open for reading
	Write   Use = "write"   // open for writing, change its mode, owner or times
	Create  Use = "create"  // make it where it was not
	Remove  Use = "remove"  // remove or rename it
	List    Use = "list"    // open a directory
	Enter   Use = "enter"   // change into a directory
	Execute Use = "execute" // execute it
	Map     Use = "map"     // map it as code: a shared object
)

// The kinds of what a path names.
const (
	File      = "file"
	Directory = "directory"
	Device    = "device"
	Socket    = "socket"
	FIFO      = "fifo"
)

// Peak is the most that was used at once.
type Peak struct {
	Tasks     uint64 `json:"tasks,omitempty"`      // processes and threads, of all programs together
	Memory    uint64 `json:"memory,omitempty"`     // bytes, of all processes of the program together
	OpenFiles uint64 `json:"open-files,omitempty"` // of one process
	Locked    uint64 `json:"locked,omitempty"`     // bytes, of one process
}

// NewRecord returns an empty record.
func NewRecord() *Record { return &Record{Version: Version, Programs: map[string]*Program{}} }

// Program returns the entry of a program, which is made where it is missing.
func (r *Record) Program(path string) *Program {
	p := r.Programs[path]
	if p == nil {
		p = newProgram()
		r.Programs[path] = p
	}
	return p
}

func newProgram() *Program {
	return &Program{Calls: map[string]uint64{}, Arguments: map[string]uint64{}, Paths: map[string]*Path{},
		Sockets: map[string]uint64{}, Executes: map[string]uint64{}, Users: map[string]uint64{}, Directories: map[string]uint64{}, Capabilities: map[string]uint64{}}
}

// Use counts a use of a path.
func (p *Program) Use(path string, use Use, kind string, isNew bool) {
	known := p.Paths[path]
	if known == nil {
		known = &Path{Uses: map[Use]uint64{}, Kind: kind, New: isNew}
		p.Paths[path] = known
	}
	known.Uses[use]++
}

// Add adds what another record has seen.
func (r *Record) Add(other *Record) {
	r.Runs = append(r.Runs, other.Runs...)
	for name, program := range other.Programs {
		r.Program(name).add(program)
	}
}

func (p *Program) add(other *Program) {
	sum := func(to, from map[string]uint64) {
		for key, count := range from {
			to[key] += count
		}
	}
	sum(p.Calls, other.Calls)
	sum(p.Arguments, other.Arguments)
	sum(p.Sockets, other.Sockets)
	sum(p.Executes, other.Executes)
	sum(p.Users, other.Users)
	sum(p.Directories, other.Directories)
	sum(p.Capabilities, other.Capabilities)
	for name, path := range other.Paths {
		known := p.Paths[name]
		if known == nil {
			known = &Path{Uses: map[Use]uint64{}, Kind: path.Kind, New: path.New}
			p.Paths[name] = known
		}
		for use, count := range path.Uses {
			known.Uses[use] += count
		}
	}
	p.Peak.Tasks = max(p.Peak.Tasks, other.Peak.Tasks)
	p.Peak.Memory = max(p.Peak.Memory, other.Peak.Memory)
	p.Peak.OpenFiles = max(p.Peak.OpenFiles, other.Peak.OpenFiles)
	p.Peak.Locked = max(p.Peak.Locked, other.Peak.Locked)
}

// together is everything that all programs of the record did, as one: what a
// single component for all of them needs. Its memory is the sum.
func (r *Record) together() *Program {
	all := newProgram()
	memory := uint64(0)
	for _, name := range sortedKeys(r.Programs) {
		all.add(r.Programs[name])
		memory += r.Programs[name].Peak.Memory
	}
	all.Peak.Memory = memory
	return all
}

// Incomplete lists what may be missing from the record.
func (r *Record) Incomplete() []string {
	var all []string
	for _, run := range r.Runs {
		all = append(all, run.Incomplete...)
	}
	sort.Strings(all)
	return slices.Compact(all)
}

// ReadRecord reads a record from a file; one that is not there is empty.
func ReadRecord(name string) (*Record, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return NewRecord(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	read := Record{}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, fmt.Errorf("read the record %s: %w: name a file that sandbox learn has written, or a new one", name, err)
	}
	if read.Version != Version {
		return nil, fmt.Errorf("read the record %s: its version is %d, and this sandbox knows %d: record anew into another file", name, read.Version, Version)
	}
	// Through Add, so that nothing in it is nil.
	r := NewRecord()
	for name, p := range read.Programs {
		if p == nil {
			delete(read.Programs, name)
			continue
		}
		for path, use := range p.Paths {
			if use == nil {
				delete(p.Paths, path)
			}
		}
	}
	r.Add(&read)
	return r, nil
}

// Text is the record as its file has it.
func (r *Record) Text() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the record: %w", err)
	}
	return append(text, '\n'), nil
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
