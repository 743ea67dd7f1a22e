package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"bulkhead/broker/control"
	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
)

// Application is a running application.
type Application struct {
	Name       string      `json:"name"`
	Policy     string      `json:"policy"`
	State      string      `json:"state"`
	Started    time.Time   `json:"started"`
	Components []Component `json:"components"`         // the monitor and the supervisor among them
	Problems   []string    `json:"problems,omitempty"` // what could not be looked at

	plan   *plan.Plan // nil when the inspector may not read it
	broker int
	// monitorUnseen: an ordinary user may not look at it.
	monitorUnseen bool
	group         string // of cgroups, with a / before it and none behind
}

// Component is a component of a running application.
type Component struct {
	Name     string     `json:"name"`
	Program  string     `json:"program"`
	Start    string     `json:"start"`
	State    string     `json:"state"`
	Cause    string     `json:"cause,omitempty"`
	Since    time.Time  `json:"since"`
	Restarts int        `json:"restarts"`
	Running  int        `json:"running"` // workers
	Queue    int        `json:"queue"`
	Memory   uint64     `json:"memory"` // bytes in use by all its processes
	Denied   uint64     `json:"denied"`
	Denials  []Denial   `json:"denials,omitempty"`
	Grants   []GrantUse `json:"grants"`
	MayStart []string   `json:"may-start,omitempty"` // components
	Walls    []Wall     `json:"walls"`               // of its first worker
	Exposure *Exposure  `json:"exposure,omitempty"`
	Workers  []Worker   `json:"workers"`
	Init     *Process   `json:"init,omitempty"` // of the compartment
	Drift    []Drift    `json:"drift,omitempty"`
	plan     *plan.Component
	told     map[int]control.Worker // by pid
}

// Worker is one worker: its program and what that started, as the kernel
// counts them in the worker's cgroup.
type Worker struct {
	Name      string    `json:"name"` // of its cgroup
	PID       int       `json:"pid"`  // of its program, 0 while it is only prepared
	Processes []Process `json:"processes"`
}

// GrantUse is a grant in the hands of a component.
type GrantUse struct {
	Name  string `json:"name"`
	Kind  string `json:"kind,omitempty"` // listen, connect, file, directory, device, channel
	Right string `json:"right"`          // in words
	Count uint64 `json:"count"`          // descriptors handed out on request
	Start bool   `json:"at-start"`       // its descriptor is there from the start
	Open  int    `json:"open"`           // descriptors open now; Full only
	Last  string `json:"last,omitempty"`
}

// Denial is a thing that was tried and refused.
type Denial struct {
	Tried  string    `json:"tried"`
	Answer string    `json:"answer"`
	Allow  string    `json:"allow"` // the policy line that would allow it
	Count  uint64    `json:"count"`
	Last   time.Time `json:"last"`
}

// statusPatience bounds the wait for a supervisor that does not answer.
const statusPatience = 3 * time.Second

func (i *Inspector) application(name string, depth Depth) (*Application, error) {
	a := &Application{Name: name, State: "unknown"}
	directory := i.directoryOf(a)
	text, err := os.ReadFile(filepath.Join(directory, "pid"))
	if os.IsNotExist(err) {
		return nil, &NotRunning{name}
	}
	if err != nil {
		return nil, fmt.Errorf("inspect application %q: %w", name, err)
	}
	if a.broker, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return nil, fmt.Errorf("inspect application %q: its pid file is not understood: %w", name, err)
	}
	if a.group, err = i.groupOf(name); err != nil {
		a.Problems = append(a.Problems, err.Error())
	}
	// A large plan takes longer to decode than the supervisor to answer.
	var planError, statusError error
	var status *control.Status
	var wait sync.WaitGroup
	wait.Go(func() { a.plan, planError = readPlan(filepath.Join(directory, "plan")) })
	wait.Go(func() { status, statusError = askStatus(filepath.Join(directory, "status")) })
	wait.Wait()
	for _, err := range []error{planError, statusError} {
		if err != nil { // the kernel answers all the same
			a.Problems = append(a.Problems, err.Error())
		}
	}
	i.components(a, status)
	i.lookAtComponents(a, depth)
	return a, nil
}

func readPlan(path string) (*plan.Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	return plan.Decode[plan.Plan](b)
}

func askStatus(socket string) (*control.Status, error) {
	client, err := control.Dial(socket)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(statusPatience))
	reply, err := client.Do(control.Request{Verb: control.AskStatus}, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor for its status: %w", err)
	}
	return reply.Status, nil
}

// components lists what the supervisor tells, else what the plan names.
func (i *Inspector) components(a *Application, status *control.Status) {
	monitor := Component{
		Name: "monitor", Program: "monitor", Start: "with-application", State: "running",
		Running: 1, Grants: []GrantUse{}, Workers: []Worker{},
	}
	if status == nil {
		a.Components = append(a.Components, monitor)
		if a.plan != nil {
			for k := range a.plan.Components {
				c := &a.plan.Components[k]
				a.Components = append(a.Components, Component{
					Name: c.Name, Program: c.Program, State: "unknown", Grants: grantUses(a.plan, c, nil),
					MayStart: c.MayStart, plan: c,
				})
			}
		}
		return
	}
	a.State, a.Policy, a.Started = string(status.State), status.Policy, status.Started
	monitor.Since = status.Started
	a.Components = append(a.Components, monitor)
	denials := map[string][]Denial{}
	for _, d := range status.Denials {
		denials[d.Component] = append(denials[d.Component], Denial{d.Tried, d.Answer, d.Allow, d.Count, d.Last})
	}
	for k := range status.Components {
		told := &status.Components[k]
		c := Component{
			Name: told.Name, Program: told.Program, Start: told.Start, State: string(told.State),
			Cause: told.Cause, Since: told.Since, Restarts: told.Restarts, Running: told.Running,
			Queue: told.Queue, Denied: told.Denied, Denials: denials[told.Name],
			plan: planComponent(a.plan, told.Name), told: map[int]control.Worker{},
		}
		c.Grants = grantUses(a.plan, c.plan, told.Grants)
		if c.plan != nil {
			c.MayStart = c.plan.MayStart
		}
		for _, w := range told.Workers {
			c.told[int(w.PID)] = w
		}
		a.Components = append(a.Components, c)
	}
}

func planComponent(p *plan.Plan, name string) *plan.Component {
	if p == nil {
		return nil
	}
	for k := range p.Components {
		if p.Components[k].Name == name {
			return &p.Components[k]
		}
	}
	return nil
}

func grantUses(p *plan.Plan, c *plan.Component, used []control.Grant) []GrantUse {
	all := []GrantUse{}
	count := map[string]control.Grant{}
	for _, u := range used {
		count[u.Name] = u
	}
	if c == nil {
		for _, u := range used {
			all = append(all, GrantUse{Name: u.Name, Count: u.Count, Last: u.Last})
		}
		return all
	}
	for _, b := range c.Grants {
		g := &p.Grants[b.Grant]
		u := count[g.Name]
		all = append(all, GrantUse{Name: g.Name, Kind: grantKinds[g.Kind], Right: grantWords(g), Start: b.Number >= 0, Count: u.Count, Last: u.Last})
	}
	return all
}

// lookAtComponents asks the kernel, several components at a time: most of it
// is waiting for locks of other processes' memory.
func (i *Inspector) lookAtComponents(a *Application, depth Depth) {
	slots := make(chan struct{}, 2*runtime.NumCPU())
	var wait sync.WaitGroup
	for k := range a.Components {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			i.lookAtComponent(a, &a.Components[k], depth)
		})
	}
	wait.Wait()
	var explainer *explainer
	if depth >= Full {
		explainer = i.newExplainer(a)
	}
	for k := range a.Components {
		c := &a.Components[k]
		if explainer != nil {
			explainer.explain(c)
		}
		if c.plan != nil {
			c.Drift = i.drift(a, c, depth)
		} else if c.Name == "monitor" {
			c.Drift = i.monitorDrift(a, c)
		}
		if p := c.program(); p != nil {
			if c.plan != nil && depth >= Full && i.kernel.Landlock > 0 {
				p.Landlock = "asked for by the plan; the kernel does not tell whether it stands"
			}
			c.Walls = p.Walls
			c.Exposure = i.expose(p, a, c)
		}
	}
}

func (i *Inspector) lookAtComponent(a *Application, c *Component, depth Depth) {
	if c.Name == "monitor" {
		i.lookAtMonitor(a, c, depth)
		return
	}
	group := a.groupOf(c)
	c.Memory = i.groupMemory(group)
	leaves, err := i.processes(group)
	if err != nil {
		return // drift says so where there should be one
	}
	names := make([]string, 0, len(leaves))
	for name := range leaves {
		names = append(names, name)
	}
	sort.Slice(names, func(a, b int) bool {
		return len(names[a]) < len(names[b]) || len(names[a]) == len(names[b]) && names[a] < names[b]
	})
	c.Workers = []Worker{}
	for _, name := range names {
		// At a glance one worker stands for all.
		if depth == Glance && len(c.Workers) > 0 {
			break
		}
		if name == "init" {
			if depth >= Full {
				c.Init = i.compartmentInit(leaves[name], depth)
			}
			continue
		}
		if w, ok := i.worker(name, leaves[name], depth); ok {
			c.Workers = append(c.Workers, w)
		}
	}
	// The supervisor does not count itself.
	if c.Name == "supervisor" && c.Running == 0 {
		c.Running = len(c.Workers)
	}
}

// groupOf is the cgroup of an application that runs, where its broker put it:
// beneath the group that a service manager delegated, or at the root.
func (i *Inspector) groupOf(application string) (string, error) {
	if known, ok := i.groups.Load(application); ok {
		return known.(string), nil
	}
	pid, err := os.ReadFile(filepath.Join(i.base, application, "pid"))
	if err != nil {
		return "", fmt.Errorf("find the cgroup of application %q: %w", application, err)
	}
	base, err := i.hierarchy.BaseOf(strings.TrimSpace(string(pid)))
	if err != nil {
		return "", fmt.Errorf("of application %q: %w", application, err)
	}
	group := cgroup.Application(base, application)
	i.groups.Store(application, group)
	return group, nil
}

// groupOf is the cgroup of a component's compartment, of the one that the plan
// names now.
func (a *Application) groupOf(c *Component) string {
	compartment := c.Name
	if c.plan != nil {
		compartment = c.plan.Compartment()
	}
	return filepath.Join(a.group, compartment)
}

// compartmentInit is the init among the processes of its group, where workers
// are too for the moment after their fork.
func (i *Inspector) compartmentInit(pids []int, depth Depth) *Process {
	for _, pid := range pids {
		if p, err := i.process(pid, depth); err == nil && p.Role == "compartment-init" {
			return p
		}
	}
	return nil
}

// worker looks at the processes of one leaf. Its program is the second process
// of the leaf's pid namespace; the first is the worker's own init.
func (i *Inspector) worker(name string, pids []int, depth Depth) (Worker, bool) {
	w := Worker{Name: name}
	// From the last: the program is younger than the worker's own init.
	for _, pid := range slices.Backward(pids) {
		p, err := i.process(pid, depth)
		if err != nil {
			continue // it ended
		}
		w.Processes = append(w.Processes, *p)
		if p.Role == "program" {
			w.PID = pid
			if depth == Glance {
				break // it stands for all
			}
		}
	}
	slices.Reverse(w.Processes)
	return w, len(w.Processes) > 0
}

func (i *Inspector) lookAtMonitor(a *Application, c *Component, depth Depth) {
	p, err := i.process(a.broker, depth)
	if err != nil {
		a.Problems = append(a.Problems, fmt.Sprintf("the monitor, process %d, and where pipes and sockets come from: %v", a.broker, err))
		a.monitorUnseen = true
		return
	}
	p.Role, p.Of = "monitor", a.Name+"/monitor"
	c.Program = p.Executable
	if c.Since.IsZero() {
		c.Since = p.Started
	}
	c.Memory = p.Resident
	c.Workers = []Worker{{Name: "monitor", PID: p.PID, Processes: []Process{*p}}}
}

// program is the program of the first worker that has one.
func (c *Component) program() *Process {
	for p := range c.processes() {
		if p.Role == "program" || p.Role == "monitor" {
			return p
		}
	}
	return nil
}
