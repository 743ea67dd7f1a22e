package inspect

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"bulkhead/policy/plan"
)

// Exposure is how much of the machine a process could reach, from 0 (nothing)
// to 10 (everything), with what makes it so. It is to be compared with the
// figure of `systemd-analyze security`: the same questions with about the same
// weights, answered by the kernel instead of by a unit file.
type Exposure struct {
	Figure  float64  `json:"figure"`
	Word    string   `json:"word"` // perfect, safe, ok, medium, exposed, unsafe, dangerous
	Reasons []Reason `json:"reasons"`
	// Basis says where the answer about system calls came from: "kernel" when
	// the filter was read back, "plan" when it is the plan's, "none".
	Basis string `json:"basis"`
}

// Reason is one question, answered to the worse.
type Reason struct {
	Subject string  `json:"subject"`
	Found   string  `json:"found"`
	Adds    float64 `json:"adds"`             // to Figure
	Advice  string  `json:"advice,omitempty"` // the policy line that would lower it
}

// question is one thing that the figure asks: how bad the answer is, from 0
// to 1, weighs as much as weight.
type question struct {
	subject string
	weight  float64
	answer  func(*subject) (badness float64, found, advice string)
}

// subject is what is asked about.
type subject struct {
	process *Process
	plan    *plan.Component // nil for a process that is not Bulkhead's
	app     *Application
	calls   *Calls // nil: no filter, or one that could not be read
	name    string // in advice
}

func (s *subject) line(key, value string) string {
	return fmt.Sprintf("components.%s.%s: %s", s.name, key, value)
}

// callClasses are the groups of calls that systemd-analyze asks about too,
// each by calls that stand for it.
var callClasses = []struct {
	name    string
	weight  float64
	members []string
}{
	{"mount", 600, []string{"mount", "umount2", "pivot_root", "fsopen", "move_mount", "open_tree"}},
	{"kernel modules", 1000, []string{"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"}},
	{"raw hardware", 1000, []string{"ioperm", "iopl"}},
	{"reboot and swap", 600, []string{"reboot", "swapon", "swapoff"}},
	{"clock", 600, []string{"settimeofday", "clock_settime", "adjtimex", "clock_adjtime"}},
	{"debugging of others", 600, []string{"ptrace", "process_vm_readv", "process_vm_writev", "perf_event_open", "pidfd_getfd", "kcmp"}},
	{"bpf and userfaultfd", 600, []string{"bpf", "userfaultfd"}},
	{"io_uring", 400, []string{"io_uring_setup"}},
	{"keyrings", 200, []string{"add_key", "request_key", "keyctl"}},
	{"new namespaces", 800, []string{"unshare", "setns"}},
	{"changes of user", 500, []string{"setuid", "setresuid", "setgroups", "chroot"}},
	{"new programs", 500, []string{"fork", "vfork", "clone", "clone3"}},
}

var questions = func() []question {
	all := []question{
		{"user", 2000, func(s *subject) (float64, string, string) {
			if s.plan != nil && s.plan.Hosts.Shared != "" {
				return 0.25, "the user who starts it: " + s.plan.Hosts.Shared, "a subordinate id of the user's, see docs/policy.md#without-root"
			}
			if !s.process.Identity.hostRoot() {
				return 0, "", ""
			}
			return 1, "the host's root", s.line("user", "NAME of a user without rights, or no user at all")
		}},
		{"capabilities", 3500, func(s *subject) (float64, string, string) {
			c := &s.process.Capabilities
			held := len(c.Permitted)
			if held == 0 {
				return 0, "", ""
			}
			bad := min(1, 0.3+float64(held)/40)
			if s.process.own("user") {
				bad /= 4 // they mean something in its own user namespace only
			}
			return bad, capabilityWords(c.Permitted), s.line("capabilities", "[]")
		}},
		{"no-new-privileges", 1000, func(s *subject) (float64, string, string) {
			if s.process.NoNewPrivileges {
				return 0, "", ""
			}
			return 1, "a set-user-ID program gives it its owner's rights", "run it as a component: no_new_privs is always set"
		}},
	}
	for _, kind := range []struct {
		name    string
		weight  float64
		found   string
		advised string
	}{
		{"user", 1000, "ids are the host's", "run it as a component: ids of its own are always made"},
		{"mnt", 2000, "it sees the host's file system", "files: name what it needs"},
		{"pid", 700, "it sees the host's processes", "run it as a component: a pid namespace of its own is always made"},
		{"net", 2500, "it is in the host's network", "network: none"},
		{"ipc", 300, "it shares the host's ipc", "run it as a component: an ipc namespace of its own is always made"},
		{"uts", 100, "it shares the host's name", "run it as a component: a host name of its own is always made"},
		{"cgroup", 100, "it sees the host's cgroups", "run it as a component: a cgroup namespace of its own is always made"},
	} {
		all = append(all, question{kind.name + " namespace", kind.weight, func(s *subject) (float64, string, string) {
			if s.process.own(kind.name) {
				return 0, "", ""
			}
			advice := kind.advised
			if s.plan != nil && strings.Contains(advice, ": ") && !strings.HasPrefix(advice, "run it") {
				key, value, _ := strings.Cut(advice, ": ")
				advice = s.line(key, value)
			}
			return 1, kind.found, advice
		}})
	}
	for _, class := range callClasses {
		all = append(all, question{"calls: " + class.name, class.weight, func(s *subject) (float64, string, string) {
			reached := s.reaches(class.members)
			if len(reached) == 0 {
				return 0, "", ""
			}
			return float64(len(reached)) / float64(len(class.members)), strings.Join(reached, ", ") + " reach the kernel",
				s.line("syscalls", "[{deny: ["+strings.Join(reached, ", ")+"]}]")
		}})
	}
	return append(all,
		question{"all calls", 1000, func(s *subject) (float64, string, string) {
			if s.calls == nil {
				return 1, "no filter: every call reaches the kernel", s.line("syscalls", "name the calls it makes")
			}
			share := float64(s.calls.Allowed) / float64(s.calls.Known)
			return share, fmt.Sprintf("%d of %d calls reach the kernel", s.calls.Allowed, s.calls.Known), s.line("syscalls", "name fewer groups, or {deny: […]}")
		}},
		question{"foreign calls", 500, func(s *subject) (float64, string, string) {
			if s.calls != nil && !allowing(s.calls.Foreign) && !allowing(s.calls.X32) {
				return 0, "", ""
			}
			return 1, "calls of other architectures reach the kernel", "run it as a component: they are always killed"
		}},
		question{"writable places", 800, func(s *subject) (float64, string, string) {
			n := len(s.process.Writable)
			if n == 0 {
				return 0, "", ""
			}
			return min(1, float64(n)/10), places(s.process.Writable) + " writable", s.line("files.write", "fewer paths; or a grant")
		}},
		question{"writable programs", 800, func(s *subject) (float64, string, string) {
			if len(s.process.Both) == 0 {
				return 0, "", ""
			}
			return 1, places(s.process.Both) + " writable and executable at once", "files.write is never executable in a compartment"
		}},
		question{"writable code in memory", 300, func(s *subject) (float64, string, string) {
			if s.process.Mappings == 0 {
				return 0, "", ""
			}
			return 1, fmt.Sprintf("%d mappings are writable and executable", s.process.Mappings), "use a build of the program without run-time code generation"
		}},
		question{"memory limit", 400, func(s *subject) (float64, string, string) {
			if s.process.Cgroup != nil && s.process.Cgroup.Memory.Limit != Unlimited {
				return 0, "", ""
			}
			return 1, "it may use all memory", s.line("limits.memory", "256M")
		}},
		question{"process limit", 400, func(s *subject) (float64, string, string) {
			if s.process.Cgroup != nil && s.process.Cgroup.Tasks.Limit != Unlimited {
				return 0, "", ""
			}
			return 1, "it may start any number of processes", s.line("limits.processes", "16")
		}},
		question{"grants", 1000, func(s *subject) (float64, string, string) {
			if s.plan == nil {
				return 1, "it opens what it likes", "grants: name what it needs"
			}
			bad, found := 0.0, []string{}
			for _, b := range s.plan.Grants {
				g := &s.app.plan.Grants[b.Grant]
				bad += grantWeight(g)
				found = append(found, grantWords(g))
			}
			if bad == 0 {
				return 0, "", ""
			}
			return min(1, bad), strings.Join(found, "; "), s.line("grants", "fewer, or access: read")
		}},
	)
}()

// grantWeight is how much of the worst a grant is: what is written or reached
// weighs more than what is read.
func grantWeight(g *plan.Grant) float64 {
	switch {
	case g.Kind == plan.GrantConnect, g.Kind == plan.GrantDevice:
		return 0.3
	case g.Kind == plan.GrantDirectory && g.Access&plan.Write != 0:
		return 0.3
	case g.Access&plan.Write != 0:
		return 0.2
	case g.Access&plan.Append != 0:
		return 0.05
	}
	return 0.1
}

// own says whether the process has a namespace of its own.
func (p *Process) own(kind string) bool {
	for _, n := range p.Namespaces {
		if n.Kind == kind {
			return !n.Host
		}
	}
	return false
}

func places(points []string) string {
	if len(points) > 3 {
		return fmt.Sprintf("%s and %d more are", strings.Join(points[:3], ", "), len(points)-3)
	}
	if len(points) == 1 {
		return points[0] + " is"
	}
	return strings.Join(points, ", ") + " are"
}

// reaches are those of some calls that get past the filter.
func (s *subject) reaches(names []string) []string {
	if s.calls == nil {
		return names
	}
	var reached []string
	for _, name := range names {
		if s.calls.allowed(name) && !(name == "unshare" && s.calls.noNamespaces) {
			reached = append(reached, name)
		}
	}
	return reached
}

// allowed says whether a call reaches the kernel for some arguments.
func (c *Calls) allowed(name string) bool {
	for k := range c.Calls {
		if c.Calls[k].Call == name {
			return c.Calls[k].allows()
		}
	}
	return allowing(c.Default)
}

// expose works the figure out. a and c are nil for a process that is not
// Bulkhead's.
func (i *Inspector) expose(p *Process, a *Application, c *Component) *Exposure {
	s := &subject{process: p, name: "NAME", calls: p.Seccomp.Calls}
	e := &Exposure{Basis: "none", Reasons: []Reason{}}
	if c != nil {
		s.name = c.Name
		s.app = a
		s.plan = c.plan
	}
	switch {
	case s.calls != nil:
		e.Basis = "kernel"
	case p.Seccomp.Mode == "filter" && s.plan != nil:
		e.Basis = "plan"
		s.calls = i.plannedCalls(s.plan.Syscalls.Program)
	}
	sum, weights := 0.0, 0.0
	for _, q := range questions {
		bad, found, advice := q.answer(s)
		sum += bad * q.weight
		weights += q.weight
		if bad > 0 {
			e.Reasons = append(e.Reasons, Reason{Subject: q.subject, Found: found, Adds: bad * q.weight, Advice: advice})
		}
	}
	for k := range e.Reasons {
		if c != nil && c.Name == "monitor" {
			// It is what builds the walls; no policy line changes it.
			e.Reasons[k].Advice = ""
		}
		e.Reasons[k].Adds = math.Round(e.Reasons[k].Adds/weights*1000) / 100
	}
	slices.SortStableFunc(e.Reasons, func(a, b Reason) int {
		switch {
		case a.Adds > b.Adds:
			return -1
		case a.Adds < b.Adds:
			return 1
		}
		return 0
	})
	e.Figure = math.Round(sum/weights*100) / 10
	e.Word = exposureWord(e.Figure)
	return e
}

// exposureWord uses the words and the bounds of systemd-analyze security.
func exposureWord(figure float64) string {
	for _, w := range []struct {
		below float64
		word  string
	}{{0.1, "perfect"}, {1, "safe"}, {5, "ok"}, {7.5, "medium"}, {9, "exposed"}, {10, "unsafe"}} {
		if figure < w.below {
			return w.word
		}
	}
	return "dangerous"
}

// plannedCalls describes a plan's filter, once for all components that have
// the same one.
func (i *Inspector) plannedCalls(b []byte) *Calls {
	i.callsMutex.Lock()
	defer i.callsMutex.Unlock()
	if known, ok := i.calls[string(b)]; ok {
		return known
	}
	if i.calls == nil {
		i.calls = map[string]*Calls{}
	}
	c := describeCalls([]program{decodeProgram(b)})
	i.calls[string(b)] = c
	return c
}
