package observe

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/policy/calls"
	"bulkhead/policy/learn"
)

// processes are what is known of the observed processes.
type processes struct {
	byThread map[int]*process
	byID     map[int]*process
	slots    map[string]uint32 // program: its place in the counters
	answer   int               // where a failed exec is told

	mainEnded, saidBackground, askedRest bool
	status                               unix.WaitStatus
}

// process is one observed process.
type process struct {
	id       int
	program  string // the path that was executed
	before   string // the program before an exec that may yet fail
	entry    *learn.Program
	seen     map[seen]func() // what is written down already, and how to count it again
	lastExec bool            // its last call was execve
}

// seen is a use that a process has made before.
type seen struct {
	call  int32
	use   learn.Use
	path  string
	other uint64
}

// of finds the process of a thread. A process that is new began as a copy of
// its parent.
func (r *run) of(tid int) *process {
	if p := r.byThread[tid]; p != nil {
		return p
	}
	if r.byThread == nil {
		r.byThread, r.byID = map[int]*process{}, map[int]*process{}
	}
	id, parent := tid, 0
	if fields := statusFields(tid); fields != nil {
		id, _ = strconv.Atoi(fields["Tgid"])
		parent, _ = strconv.Atoi(fields["PPid"])
	}
	p := r.byID[id]
	if p == nil {
		p = &process{id: id, program: r.options.Program}
		switch above := r.byID[parent]; {
		case id == r.main:
		case above != nil && above.before != "":
			p.program = above.before // forked before the exec that is under way
		case above != nil:
			p.program = above.program
		default:
			if program, err := os.Readlink("/proc/" + strconv.Itoa(id) + "/exe"); err == nil {
				p.program = strings.TrimSuffix(program, " (deleted)")
			}
		}
		p.entry = r.record.Program(p.program)
		r.byID[id] = p
	}
	r.byThread[tid] = p
	return p
}

// gone forgets a process: its number may come again.
func (r *run) gone(p *process) {
	delete(r.byID, p.id)
	for tid, of := range r.byThread {
		if of == p {
			delete(r.byThread, tid)
		}
	}
}

// executes notes that a process is about to be another program.
func (r *run) executes(p *process, program string) {
	r.becomes(p, program)
	p.lastExec = true
}

func (r *run) becomes(p *process, program string) {
	p.before, p.program, p.seen = p.program, program, nil
	p.entry = r.record.Program(program)
	if r.counter == nil {
		return
	}
	if r.slots == nil {
		r.slots = map[string]uint32{}
	}
	slot, known := r.slots[program]
	if !known {
		slot = min(uint32(len(r.slots))+1, mostSlots-1)
		r.slots[program] = slot
	}
	if r.counter.track(p.id, slot) != nil {
		r.missed++
	}
}

// after looks at whether an exec has succeeded, when the process makes its next
// call: a second execve in a row means that it has not, as where a shell looks
// through PATH.
func (r *run) after(p *process, isExec bool) {
	if p.before == "" {
		return
	}
	if isExec && p.lastExec {
		failed := p.program
		r.becomes(p, p.before)
		p.entry.Executes[failed]-- // it was counted, and did not happen
		if p.entry.Executes[failed] == 0 {
			delete(p.entry.Executes, failed)
		}
	}
	p.before, p.lastExec = "", false
}

// collect reads the counters into the record.
func (r *run) collect() error {
	names := map[uint32][]string{}
	for program, slot := range r.slots {
		names[slot] = append(names[slot], program)
	}
	for slot := range uint32(len(names)) {
		slot++
		programs := names[slot]
		if len(programs) == 0 {
			continue
		}
		byNumber, caps, err := r.counter.read(slot)
		if err != nil {
			return err
		}
		for _, program := range programs { // several only in the last slot
			entry := r.record.Program(program)
			for number, count := range byNumber {
				entry.Calls[callName(number)] += count
			}
			for number, count := range caps {
				entry.Capabilities[capabilityName(number)] += count
			}
		}
	}
	return nil
}

func callName(number int) string {
	if name := calls.Name(number); name != "" {
		return name
	}
	return "unknown"
}

func statusFields(pid int) map[string]string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

// descendants are all processes below one.
func descendants(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}
