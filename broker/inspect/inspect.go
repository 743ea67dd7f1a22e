// Package inspect audits running processes: what the kernel says about the
// walls round them, beside what the plan of their application asks for.
//
// An auditor must be able to trust the answer, so every fact about a process
// comes from the kernel. The supervisor tells what the kernel does not know
// (states, restarts, denials), the plan says what should be, and where the
// two differ that is drift.
//
//	inspector.go    the machine that is looked at, and the look at everything
//	application.go  one application: its components, their processes
//	process.go      one process, Bulkhead's or not
//	status.go namespace.go identity.go mount.go cgroup.go rlimit.go limit.go
//	environment.go  what /proc and the cgroups say, one noun each
//	file.go         how they are read
//	descriptor.go   open descriptors
//	socket.go       what kind of socket, with which peer, in which network
//	pipe.go         who else has a pipe open
//	explain.go grant.go
//	                which grant a descriptor comes from
//	filter.go       system call filters read back from the kernel
//	evaluate.go     what such a filter does with each call
//	calls.go        that as a list a person can read
//	wall.go         the walls, up or not
//	drift.go mountdrift.go enclosuredrift.go
//	                plan and kernel side by side
//	exposure.go     a figure, its reasons and the lines that would lower it
//	reach.go        what a compromised component could reach
//	drawing.go sketch.go layout.go
//	                a picture of components, walls and descriptors: what is in it, and where
//	page.go page.html page.css
//	                all of it for a browser
//	list.go details.go verification.go paint.go table.go text.go
//	                all of it for people
//
// docs/inspect.md describes the JSON.
package inspect

import "time"

// Schema is the version of the report, its first field in JSON. A change that
// a reader of JSON could notice, other than a new field, makes a new number.
const Schema = "bulkhead-inspect/1"

// Report is what one inspection found.
type Report struct {
	Schema       string        `json:"schema"`
	Time         time.Time     `json:"time"`
	Kernel       Kernel        `json:"kernel"`
	Applications []Application `json:"applications,omitempty"`
	Process      *Process      `json:"process,omitempty"` // of inspect PID
}

// Kernel is the kernel that was asked.
type Kernel struct {
	Release  string `json:"release"`
	Landlock int    `json:"landlock"` // ABI version, 0 for none
	Cgroups  string `json:"cgroups"`  // v1 (also hybrid) or v2
}

// Drifts are all differences between plan and kernel in the report.
func (r *Report) Drifts() []Drift {
	var all []Drift
	for i := range r.Applications {
		for k := range r.Applications[i].Components {
			all = append(all, r.Applications[i].Components[k].Drift...)
		}
	}
	return all
}

// Problems are what could not be looked at; --verify fails on them too,
// because what nobody saw is not known to be right.
func (r *Report) Problems() []string {
	var all []string
	for i := range r.Applications {
		all = append(all, r.Applications[i].Problems...)
	}
	return all
}
