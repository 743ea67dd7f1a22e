package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/test/loopback"
)

// On the main thread, so that no other goroutine gets it: mountIn ends its thread,
// which the main thread cannot, and /proc/self is what that sees.
func init() { runtime.LockOSThread() }

// sandboxCommand is the launcher that is looked at.
func sandboxCommand(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the launcher is not built (run make build): %v", err)
	}
	return path
}

// run starts an application and waits until all of it is up. It is gone,
// without a trace, when the test is over.
func run(t testing.TB, policy string) (application string) {
	t.Helper()
	needRoot(t)
	sandbox := sandboxCommand(t)
	application = fmt.Sprintf("inspect-test-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("application: "+application+"\n"+policy), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	c := exec.Command(sandbox, "run", file)
	c.Stdout, c.Stderr = output, output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	t.Cleanup(func() {
		exec.Command(sandbox, "down", application).Run()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			c.Process.Kill()
			t.Errorf("%s did not end", application)
		}
		for _, left := range []string{"/run/sandbox/" + application, "/sys/fs/cgroup/memory/sandbox/" + application, "/sys/fs/cgroup/sandbox/" + application} {
			if _, err := os.Stat(left); err == nil {
				t.Errorf("%s is left behind", left)
			}
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, err := askStatus("/run/sandbox/" + application + "/status")
		if err == nil && status.State == "running" {
			return application
		}
		select {
		case <-ended:
		default:
			if time.Now().Before(deadline) {
				continue
			}
		}
		said, _ := os.ReadFile(output.Name())
		t.Fatalf("the application does not come up: %v\n%s", err, said)
	}
}

// policy is an application with something of everything.
func policy(t *testing.T) string {
	directory := openDirectory(t)
	if err := os.Mkdir(directory+"/hidden", 0o755); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
grants:
  http: {listen: "tcp:127.0.0.1:%s"}
components:
  web:
    command: [/bin/sleep, "1000"]
    grants: [http]
    files: {read: [%s], hidden: [%s/hidden], temporary: [/scratch]}
    may-start: [decode]
    limits: {memory: 64M, processes: 4, open-files: 64}
  decode:
    extends: parser
    command: [/bin/cat]
    start: per-request
`, loopback.Port(t), directory, directory)
}

// openDirectory is a directory that every user may enter, unlike the test's own.
func openDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for _, place := range []string{directory, filepath.Dir(directory)} {
		if err := os.Chmod(place, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func look(t *testing.T, application string) *Report {
	t.Helper()
	r, err := inspector(t).Applications(Filters, application)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func component(t *testing.T, r *Report, name string) *Component {
	t.Helper()
	for k := range r.Applications[0].Components {
		if c := &r.Applications[0].Components[k]; c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no component %s", name)
	return nil
}

func TestApplicationAsPlanned(t *testing.T) {
	application := run(t, policy(t))
	r := look(t, application)
	for _, d := range r.Drifts() {
		t.Errorf("drift: %s", d.String())
	}
	for _, problem := range r.Problems() {
		t.Errorf("not seen: %s", problem)
	}
	var names []string
	for _, c := range r.Applications[0].Components {
		names = append(names, c.Name)
	}
	if want := []string{"monitor", "web", "decode", "supervisor"}; !slices.Equal(names, want) {
		t.Errorf("components %v, want %v", names, want)
	}
	for _, name := range []string{"web", "supervisor"} {
		c := component(t, r, name)
		if down := missing(c.Walls); len(c.Walls) == 0 || len(down) > 0 {
			t.Errorf("%s: %d walls, not up: %v", name, len(c.Walls), down)
		}
		if c.Exposure == nil || c.Exposure.Figure > 2 || c.Exposure.Basis != "kernel" {
			t.Errorf("%s: exposure %+v, want below 2 from the kernel's filter", name, c.Exposure)
		}
		p := c.program()
		if len(p.Seccomp.Filters) != 1 || string(p.Seccomp.Filters[0].Program) != string(c.plan.Syscalls.Program) {
			t.Errorf("%s: the filter read back is not the plan's", name)
		}
		for _, d := range p.Descriptors {
			if d.From == "" {
				t.Errorf("%s: nothing explains %s", name, d.words())
			}
		}
	}
	web := component(t, r, "web")
	if len(web.Grants) != 1 || web.Grants[0].Open != 1 {
		t.Errorf("grants %+v, want http, open once", web.Grants)
	}
	if len(web.Workers) != 1 || web.program() == nil || web.program().Executable != "/usr/bin/sleep" && web.program().Executable != "/bin/sleep" {
		t.Errorf("workers %+v", web.Workers)
	}
	// Of namespaces it has a root of its own.
	if monitor := component(t, r, "monitor"); len(missing(monitor.Walls)) < 9 || slices.Contains(missing(monitor.Walls), "mnt namespace") {
		t.Errorf("the monitor is the host's root, but walls are said to be up: %+v", monitor.Walls)
	}
}

func TestProcessOfAnApplication(t *testing.T) {
	application := run(t, policy(t))
	pid := component(t, look(t, application), "web").program().PID
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	if want := application + "/web/"; !strings.HasPrefix(r.Process.Of, want) || r.Process.Role != "program" {
		t.Errorf("it is %q, %q; want %s…, program", r.Process.Of, r.Process.Role, want)
	}
	for _, d := range r.Process.Descriptors {
		if d.From == "" {
			t.Errorf("nothing explains %s", d.words())
		}
	}
}

// What a component asks for, connects to, and gives to another it may start.
func TestDescriptorsOnRequest(t *testing.T) {
	client, err := filepath.Abs("../client/python/bulkhead.py")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("the client of this test is in Python, which is not here")
	}
	directory := openDirectory(t)
	library, err := os.ReadFile(client)
	if os.IsNotExist(err) {
		t.Skip("the client is not here: the package is alone in this machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	program := `
import os, socket, sys, time, bulkhead
broker = bulkhead.Broker()
thumb = broker.open("store", "thumb", os.O_RDWR | os.O_CREAT)
asked = broker.connect("db")
connected = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
read, write = os.pipe()
between = os.pipe()
memory = os.memfd_create("note")
one = broker.start("first", {0: read, 1: between[1], 5: memory})
two = broker.start("second", {0: between[0]})
print("started", flush=True)
time.sleep(1000)
`
	for name, text := range map[string]string{"bulkhead.py": string(library), "main.py": program} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	application := run(t, fmt.Sprintf(`
grants:
  store: {directory: %[2]s, access: read-write}
  db: {connect: "tcp:127.0.0.1:%[3]d"}
components:
  main:
    extends: python
    command: [/usr/bin/python3, %[1]s/main.py, "%[3]d"]
    grants: [store, {db: {at-start: false}}]
    files: {read: [%[1]s]}
    may-start: [first, second]
    limits: {memory: 64M}
  first: {extends: parser, command: [/bin/cat], start: per-request}
  second: {extends: parser, command: [/bin/cat], start: per-request, workers: {maximum: 2, ready-ahead: 1}}
`, directory, openDirectory(t), server.Addr().(*net.TCPAddr).Port))
	var r *Report
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r = look(t, application)
		missing := slices.DeleteFunc([]string{"main", "first", "second"}, func(name string) bool {
			return component(t, r, name).program() != nil
		})
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no program is seen of %v", missing)
		}
	}
	r = look(t, application) // again: that one may have seen main before the others came
	for _, d := range r.Drifts() {
		t.Errorf("drift: %s", d.String())
	}
	from := map[string][]string{}
	for _, name := range []string{"main", "first", "second"} {
		for _, d := range component(t, r, name).program().Descriptors {
			from[name] = append(from[name], d.From)
		}
	}
	for _, want := range [][2]string{
		{"main", "made by itself, given to first (may-start)"}, {"main", "grant db"}, {"main", "grant store: /"},
		{"first", "passed by main (may-start)"}, {"second", "passed by main (may-start)"},
	} {
		if !slices.ContainsFunc(from[want[0]], func(s string) bool { return strings.HasPrefix(s, want[1]) }) {
			t.Errorf("%s: %q are explained, want among them %q", want[0], from[want[0]], want[1])
		}
	}
	for _, g := range component(t, r, "main").Grants {
		if want := map[string]int{"store": 1, "db": 2}[g.Name]; g.Open != want {
			t.Errorf("grant %s is open %d times, want %d", g.Name, g.Open, want)
		}
	}
	// Without may-start nothing explains what crossed the wall.
	path := "/run/sandbox/" + application + "/plan"
	p, err := readPlan(path)
	if err != nil {
		t.Fatal(err)
	}
	planComponent(p, "main").MayStart = nil
	for k := range p.Grants {
		p.Grants[k].Access &^= plan.Write
		p.Grants[k].Port++
	}
	b, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range look(t, application).Drifts() {
		found[d.Component+" "+d.Subject] = true
	}
	unexplained := 0
	for subject := range found {
		if strings.HasPrefix(subject, "main descriptor") {
			unexplained++
		}
	}
	if unexplained < 3 {
		t.Errorf("of main's file and two connections %d are found: %v", unexplained, found)
	}
	for _, want := range []string{"first descriptor 0", "first descriptor 1", "first descriptor 5", "second descriptor 0"} {
		if !found[want] {
			t.Errorf("%s is not found; found are %v", want, found)
		}
	}
}

// Lies in the plan: each must show as drift, and as nothing else.
func TestPlanThatLies(t *testing.T) {
	application := run(t, policy(t))
	path := "/run/sandbox/" + application + "/plan"
	truth, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lies := []struct {
		name string
		lie  func(*plan.Plan, *plan.Component)
		want string // how the subject begins
	}{
		{"less memory", func(_ *plan.Plan, c *plan.Component) { c.Limits.Memory = 1 << 20 }, "memory limit"},
		{"fewer processes", func(_ *plan.Plan, c *plan.Component) { c.Limits.Processes = 1 }, "process limit"},
		{"less processor", func(_ *plan.Plan, c *plan.Component) { c.Limits.CPUQuota = 10 }, "cpu-quota"},
		{"fewer open files", func(_ *plan.Plan, c *plan.Component) { c.Limits.OpenFiles = 32 }, "limit of open files"},
		{"another user", func(_ *plan.Plan, c *plan.Component) { c.Hosts.UID++ }, "user"},
		{"another group", func(_ *plan.Plan, c *plan.Component) { c.Hosts.GID++ }, "group"},
		{"the host's network", func(_ *plan.Plan, c *plan.Component) { c.HostNetwork = true }, "network namespace"},
		{"another filter", func(_ *plan.Plan, c *plan.Component) { c.Syscalls.Program = c.Syscalls.Program[8:] }, "system call filter"},
		{"no grant", func(_ *plan.Plan, c *plan.Component) { c.Grants = nil }, "descriptor 3"},
		{"another port", func(p *plan.Plan, _ *plan.Component) { p.Grants[0].Port++ }, "descriptor 3"},
		{"another address", func(p *plan.Plan, _ *plan.Component) { p.Grants[0].Address = "127.0.0.2" }, "descriptor 3"},
		{"another direction", func(p *plan.Plan, _ *plan.Component) { p.Grants[0].Kind = plan.GrantConnect }, "descriptor 3"},
		{"no /proc", func(_ *plan.Plan, c *plan.Component) { c.Proc = plan.ProcNone }, "mount /proc"},
		{"no temporary directory", func(_ *plan.Plan, c *plan.Component) {
			c.Root = slices.DeleteFunc(c.Root, func(e plan.Entry) bool { return e.Kind == plan.EntryTemporary })
		}, "mount /scratch"},
		{"one more hidden", func(_ *plan.Plan, c *plan.Component) {
			c.Root = append(c.Root, plan.Entry{Kind: plan.EntryHidden, Target: "/usr/secret", Dir: true})
		}, "mount /usr/secret"},
	}
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			p, err := plan.Decode[plan.Plan](truth)
			if err != nil {
				t.Fatal(err)
			}
			l.lie(p, planComponent(p, "web"))
			b, err := plan.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			found := look(t, application).Drifts()
			if len(found) == 0 {
				t.Fatal("no drift is found")
			}
			for _, d := range found {
				related := strings.HasPrefix(d.Subject, l.want) || strings.HasPrefix(d.Subject, "map of "+l.want)
				if d.Component != "web" || !related {
					t.Errorf("also found: %s", d.String())
				}
			}
		})
	}
	if err := os.WriteFile(path, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	if found := look(t, application).Drifts(); len(found) > 0 {
		t.Errorf("drift with the true plan again: %v", found)
	}
}

// The kernel's side changes behind Bulkhead's back.
func TestWallsThatFall(t *testing.T) {
	application := run(t, policy(t))
	p := component(t, look(t, application), "web").program()
	expect := func(what, subject string) {
		t.Helper()
		found := look(t, application).Drifts()
		if !slices.ContainsFunc(found, func(d Drift) bool { return strings.HasPrefix(d.Subject, subject) }) {
			t.Errorf("%s: found %v", what, found)
		}
	}
	directory, value, names := "/sys/fs/cgroup/memory"+p.Cgroup.Path, "-1", []string{"memory.memsw.limit_in_bytes", "memory.limit_in_bytes"}
	if p.Cgroup.Version == 2 {
		directory, value, names = "/sys/fs/cgroup"+p.Cgroup.Path, "max", []string{"memory.max"}
	}
	for _, name := range names {
		err := os.WriteFile(filepath.Join(directory, name), []byte(value), 0)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	expect("memory without a limit", "memory limit")
	mountInside(t, p.PID, "/scratch")
	expect("a mount that is writable and executable", "mount /scratch")
}

// mountInside mounts a tmpfs in another process's mount namespace.
func mountInside(t *testing.T, pid int, target string) {
	t.Helper()
	failed := make(chan error)
	go func() {
		// Never unlocked: the thread ends with its strange namespace.
		runtime.LockOSThread()
		failed <- func() error {
			space, err := unix.Open(procPath(pid, "ns/mnt"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(space)
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(space, unix.CLONE_NEWNS); err != nil {
				return err
			}
			return unix.Mount("tmpfs", target, "tmpfs", 0, "")
		}()
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// What a person types: exit codes and formats.
func TestCommand(t *testing.T) {
	application := run(t, policy(t))
	sandbox := sandboxCommand(t)
	command := func(want int, arguments ...string) string {
		t.Helper()
		out, err := exec.Command(sandbox, arguments...).CombinedOutput()
		status := 0
		if exit, ok := err.(*exec.ExitError); ok {
			status = exit.ExitCode()
		}
		if status != want {
			t.Errorf("sandbox %s: status %d, want %d\n%s", strings.Join(arguments, " "), status, want, out)
		}
		return string(out)
	}
	if out := command(0, "inspect"); !strings.Contains(out, application) || strings.Contains(out, "\x1b") {
		t.Errorf("inspect: %s", out)
	}
	command(0, "inspect", "--verify", application)
	for _, arguments := range [][]string{{"inspect", "--json"}, {"inspect", "--json", application, "web"}, {"inspect", "--json", fmt.Sprint(os.Getpid())}} {
		var r Report
		if err := json.Unmarshal([]byte(command(0, arguments...)), &r); err != nil || r.Schema != Schema {
			t.Errorf("%v: schema %q, %v", arguments, r.Schema, err)
		}
	}
	if out := command(0, "inspect", application, "web"); !strings.Contains(out, "grant http") || !strings.Contains(out, "otherwise notify") {
		t.Errorf("inspect web: %s", out)
	}
	if out := command(0, "inspect", application, "--blast-radius", "decode"); !strings.Contains(out, "mislead") || !strings.Contains(out, "web, which starts it") {
		t.Errorf("blast radius: %s", out)
	}
	if out := command(125, "inspect", application, "nobody"); !strings.Contains(out, "it has monitor, web, decode, supervisor") {
		t.Errorf("unknown component: %s", out)
	}
	if out := command(125, "inspect", "no-such-application"); !strings.Contains(out, "does not run") {
		t.Errorf("unknown application: %s", out)
	}
	path := "/run/sandbox/" + application + "/plan"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if out := command(1, "inspect", "--verify", application); !strings.Contains(out, "not seen") {
		t.Errorf("half a plan: %s", out)
	}
	if out := command(0, "inspect"); !strings.Contains(out, "not seen") {
		t.Errorf("half a plan: %s", out)
	}
}

// manyComponents runs an application of so many components.
func manyComponents(t testing.TB, count int) (application, sandbox string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("components:\n")
	for k := range count {
		fmt.Fprintf(&b, "  c%03d: {command: [/bin/sleep, \"1000\"], limits: {memory: 16M, processes: 2}}\n", k)
	}
	return run(t, b.String()), sandboxCommand(t)
}

func TestManyComponents(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 50 components")
	}
	application, sandbox := manyComponents(t, 50)
	out, err := exec.Command(sandbox, "inspect", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(r.Applications, func(a Application) bool { return a.Name == application })
	if k < 0 || len(r.Applications[k].Components) != 52 {
		t.Fatal("not all components are there")
	}
	for _, c := range r.Applications[k].Components {
		if c.Name != "monitor" && len(c.Walls) == 0 {
			t.Fatalf("%s was not looked at", c.Name)
		}
	}
	context, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, _ = exec.CommandContext(context, sandbox, "inspect", "--watch", "--interval", "200ms").Output()
	if n := strings.Count(string(out), "APPLICATION"); n < 2 {
		t.Errorf("in ten seconds --watch showed %d pictures", n)
	}
}

// BenchmarkManyComponents is the time of `sandbox inspect --json` with 200
// components on the machine.
func BenchmarkManyComponents(b *testing.B) {
	_, sandbox := manyComponents(b, 200)
	for b.Loop() {
		if err := exec.Command(sandbox, "inspect", "--json").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
