package observe

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/capability"
)

// lookEvery is how often the processes are looked at. What they are at the
// moments in between is not seen; a process that ends is looked at once more.
const lookEvery = 50 * time.Millisecond

// peaks are the most that was used at once.
type peaks struct {
	tasks uint64
}

// look looks at all observed processes.
func (r *run) look() {
	tasks, memory := uint64(0), map[string]uint64{}
	if !r.running {
		return // what runs is not the program yet
	}
	for _, pid := range descendants(os.Getpid()) {
		fields := statusFields(pid)
		tasks += amount(fields["Threads"])
		program := r.options.Program
		if p := r.byID[pid]; p != nil {
			program = p.program
		}
		memory[program] += used(fields)
		peak := &r.record.Program(program).Peak
		if open, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd"); err == nil {
			peak.OpenFiles = max(peak.OpenFiles, uint64(len(open)))
		}
		peak.Locked = max(peak.Locked, amount(fields["VmLck"]))
	}
	r.tasks = max(r.tasks, tasks)
	for program, bytes := range memory {
		peak := &r.record.Program(program).Peak
		peak.Memory = max(peak.Memory, bytes)
	}
}

// forks counts the tasks when one more is made.
func (r *run) forks() {
	tasks := uint64(1)
	for _, pid := range descendants(os.Getpid()) {
		tasks += amount(statusFields(pid)["Threads"])
	}
	r.tasks = max(r.tasks, tasks)
}

// peakOf looks at a process that is about to end.
func (r *run) peakOf(p *process) {
	fields := statusFields(p.id)
	p.entry.Peak.Memory = max(p.entry.Peak.Memory, used(fields))
	p.entry.Peak.Locked = max(p.entry.Peak.Locked, amount(fields["VmLck"]))
	if open, err := os.ReadDir("/proc/" + strconv.Itoa(p.id) + "/fd"); err == nil {
		p.entry.Peak.OpenFiles = max(p.entry.Peak.OpenFiles, uint64(len(open)))
	}
}

// used is the memory of a process that a cgroup would count as its own; the
// pages of programs and libraries can always be read again.
func used(fields map[string]string) uint64 {
	return amount(fields["RssAnon"]) + amount(fields["RssShmem"])
}

// amount reads "12 kB" or a plain number of /proc/PID/status.
func amount(text string) uint64 {
	digits, isKilobytes := strings.CutSuffix(text, " kB")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	if isKilobytes {
		n <<= 10
	}
	return n
}

func (p *peaks) write(r *run) {
	entry := r.record.Program(r.options.Program)
	entry.Peak.Tasks = max(entry.Peak.Tasks, p.tasks)
}

// capabilityName is the name that policies have for a capability.
func capabilityName(number int) string {
	return "CAP_" + strings.ToUpper(capability.Cap(number).String())
}
