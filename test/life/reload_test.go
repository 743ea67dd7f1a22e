package life

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/test/loopback"
)

// component is what the status says of one component.
func (a *Application) component(name string) control.Component {
	a.t.Helper()
	var status control.Status
	if err := json.Unmarshal([]byte(a.Sandbox("status", "--json", a.Name)), &status); err != nil {
		a.t.Fatal(err)
	}
	for _, c := range status.Components {
		if c.Name == name {
			return c
		}
	}
	return control.Component{}
}

// TestReload: what did not change keeps its processes and its connections, what
// did starts anew with its new policy, what is new starts, what is gone goes,
// and nothing of it is left over.
func TestReload(t *testing.T) {
	a := New(t, "reload")
	socket, second := filepath.Join(a.Dir, "echo"), filepath.Join(a.Dir, "second")
	policy := func(grants, components string) string {
		return "application: {{NAME}}\ngrants:\n  echo: {listen: \"unix:{{DIR}}/echo\", mode: \"0666\"}\n" + grants + "components:\n" +
			"  echo: {start: per-connection, grants: [{echo: {number: 0}}], command: [/bin/cat]}\n" +
			"  calm: {command: [/bin/sleep, \"1000\"]}\n" + components
	}
	a.Run(policy("", `  told: {command: [/bin/sleep, "1001"], limits: {memory: 64M}}
  gone: {command: [/bin/sleep, "1002"]}
  last: {command: [/bin/sleep, "1003"], after: [told]}
`))
	a.Expect("up after")
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	talk := func(text string) {
		t.Helper()
		fmt.Fprintln(connection, text)
		if line, err := answers.ReadString('\n'); line != text+"\n" {
			t.Fatalf("the connection answers %q, %v", line, err)
		}
	}
	talk("before")
	a.pidOf("echo") // the supervisor hears of it later than we do
	was := a.pids()

	changed := policy("  second: {listen: \"unix:{{DIR}}/second\"}\n", `  told: {command: [/bin/sleep, "1001"], limits: {memory: 96M}}
  fresh: {command: [/bin/sleep, "1004"], grants: [second]}
  last: {command: [/bin/sleep, "1003"], after: [told]}
`)
	file := a.Policy(changed)
	dry := a.Sandbox("reload", "--dry-run", file)
	for _, line := range []string{
		"changed   told: limits.memory: 64M -> 96M\n", "new       fresh: runs /bin/sleep\n", "gone      gone: ",
		"untouched echo, calm, last\n", "listens   listen on unix:" + second + "\n",
	} {
		if !strings.Contains(dry, line) {
			t.Errorf("--dry-run does not say %q:\n%s", line, dry)
		}
	}
	if now := a.pids(); !slices.Equal(now["told"], was["told"]) || len(now) != len(was) {
		t.Errorf("--dry-run changed what runs: %v, before %v", now, was)
	}
	if said := a.Sandbox("reload", file); said != strings.Replace(dry, "would run", "runs", 1) {
		t.Errorf("reload says\n%s", said)
	}
	a.Expect("new: fresh")
	a.Until("fresh is up", func() bool { return len(a.pids()["fresh"]) == 1 && len(a.pids()["told"]) == 1 })
	now := a.pids()
	for _, name := range []string{"echo", "calm", "last"} {
		if !slices.Equal(now[name], was[name]) {
			t.Errorf("%s was not left alone: %v, before %v", name, now[name], was[name])
		}
	}
	if slices.Equal(now["told"], was["told"]) || len(now["gone"]) != 0 {
		t.Errorf("what runs: %v, before %v", now, was)
	}
	talk("after")
	if other, err := net.Dial("unix", second); err != nil {
		t.Errorf("the new socket: %v", err)
	} else {
		other.Close()
	}

	// The same again: nothing changes. Back again: as at first.
	if said := a.Sandbox("reload", file); !strings.Contains(said, "nothing changes") {
		t.Errorf("the same again says %q", said)
	}
	file = a.Policy(policy("", `  told: {command: [/bin/sleep, "1001"], limits: {memory: 64M}}
  gone: {command: [/bin/sleep, "1002"]}
  last: {command: [/bin/sleep, "1003"], after: [told]}
`))
	if said := a.Sandbox("reload", a.Name); !strings.Contains(said, "runs its changed policy") {
		t.Errorf("by its name: %s", said)
	}
	if _, err := os.Stat(second); err == nil {
		t.Error("the file of a socket that is not granted any more is there")
	}
	talk("back")

	// What is lost is built again out of the plan of now.
	var lost uint32
	a.Until("told is up", func() bool {
		told := a.component("told")
		if told.State.Up() && len(told.Workers) == 1 {
			lost = told.Workers[0].PID
		}
		return lost != 0
	})
	a.Kill(a.initOf("told.3"))
	a.Until("told is up again", func() bool {
		// Of one status: the news of the loss may come between two.
		told := a.component("told")
		return told.State.Up() && len(told.Workers) == 1 && told.Workers[0].PID != lost
	})
	a.noLeftovers("calm", "echo", "gone", "last", "supervisor", "told.3")
	talk("at last")
}

// initOf is the init of a compartment.
func (a *Application) initOf(compartment string) string {
	a.t.Helper()
	for _, base := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		b, err := os.ReadFile(filepath.Join(base, "sandbox", a.Name, compartment, "init/cgroup.procs"))
		if err == nil {
			pid, _, _ := strings.Cut(string(b), "\n")
			return pid
		}
	}
	a.t.Fatalf("no compartment %s", compartment)
	return ""
}

// noLeftovers says what is there beside the compartments that there should be.
func (a *Application) noLeftovers(compartments ...string) {
	a.t.Helper()
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/sandbox/" + a.Name)
	for _, at := range append(groups, filepath.Join("/run/sandbox", a.Name, "root"), filepath.Join("/run/sandbox", a.Name, "root", ".libcontainer")) {
		entries, _ := os.ReadDir(at)
		var names []string
		for _, e := range entries {
			if e.IsDir() && e.Name() != ".libcontainer" { // whose own entries come last
				names = append(names, e.Name())
			}
		}
		for _, name := range names {
			if !slices.Contains(compartments, name) {
				a.t.Errorf("%s/%s is left", at, name)
			}
		}
	}
}

// TestReloadRefused: a policy with mistakes, a port in use and a program that
// is not there change nothing and say where.
func TestReloadRefused(t *testing.T) {
	a := New(t, "refused")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a.Run("application: {{NAME}}\ncomponents:\n  one: {command: [/bin/sleep, \"1000\"]}\n")
	a.Expect("up after")
	was, plan := a.pids(), a.planText()
	for _, c := range []struct{ policy, says string }{
		{"application: {{NAME}}\ncomponents:\n  one: {command: [/bin/sleep, \"1000\"], limit: 5}\n", "policy.yaml:3:40: unknown key \"limit\""},
		{"application: {{NAME}}\ncomponents:\n  one: {command: [/bin/slep, \"1000\"]}\n", "policy.yaml:3:"},
		{"application: other\ncomponents:\n  one: {command: [/bin/sleep, \"1000\"]}\n", "application \"other\" does not run"},
		{"application: {{NAME}}\ngrants: {web: {listen: \"tcp:" + taken.Addr().String() + "\"}}\ncomponents:\n" +
			"  one: {command: [/bin/sleep, \"1000\"]}\n  two: {command: [/bin/sleep, \"1000\"], grants: [web]}\n",
			"policy.yaml:2:10: grant \"web\": listen on tcp:" + taken.Addr().String() + ": address already in use"},
		{"application: {{NAME}}\ngrants: {bus: {connect: \"unix:/run/dbus/system_bus_socket\"}}\ncomponents:\n  one: {command: [/bin/sleep, \"1000\"], grants: [bus]}\n",
			"it takes a monitor that may do more (CAP_"},
	} {
		if said := a.Sandbox("reload", a.Policy(c.policy)); !strings.Contains(said, c.says) {
			t.Errorf("instead of %q it says\n%s", c.says, said)
		}
	}
	if now := a.pids(); !slices.Equal(now["one"], was["one"]) || a.planText() != plan {
		t.Errorf("a refused policy changed what runs: %v, before %v", now, was)
	}
	a.noLeftovers("one", "supervisor")
}

func (a *Application) planText() string {
	b, err := os.ReadFile(filepath.Join("/run/sandbox", a.Name, "plan"))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// TestReloadInOrder: those that change stop in reverse order and start in
// order, and a group's strategy takes others along.
func TestReloadInOrder(t *testing.T) {
	a := New(t, "inorder")
	policy := func(memory string) string {
		return `application: {{NAME}}
components:
  db:   {command: [/bin/sleep, "1000"], limits: {memory: ` + memory + `}}
  web:  {command: [/bin/sleep, "1000"], limits: {memory: ` + memory + `}, after: [db]}
  twin: {command: [/bin/sleep, "1000"]}
  calm: {command: [/bin/sleep, "1000"]}
supervision:
  groups:
    pair: {strategy: one-for-all, members: [db, web, twin]}
`
	}
	a.Run(policy("64M"))
	a.Expect("up after")
	was := a.pids()
	a.Sandbox("reload", a.Policy(policy("65M")))
	a.Until("all are up", func() bool {
		return a.component("db").State.Up() && a.component("web").State.Up() && a.component("twin").State.Up()
	})
	now := a.pids()
	if !slices.Equal(now["calm"], was["calm"]) || slices.Equal(now["twin"], was["twin"]) {
		t.Errorf("calm was to stay and twin to go along: %v, before %v", now, was)
	}
	a.InOrder("up after", "web: stopped", "db: stopped", "changed policy", "db: ready", "web: ready")
}

// TestReloadLosesNothing: connections that come while the one component that
// takes them is replaced again and again are all answered.
func TestReloadLosesNothing(t *testing.T) {
	a := New(t, "busy")
	socket := filepath.Join(a.Dir, "echo")
	policy := func(n int) string {
		return fmt.Sprintf("application: {{NAME}}\ngrants: {echo: {listen: \"unix:{{DIR}}/echo\"}}\ncomponents:\n"+
			"  echo: {start: per-connection, grants: [{echo: {number: 0}}], command: [/bin/echo, hello], limits: {open-files: %d}}\n", n)
	}
	a.Run(policy(20))
	a.Expect("up after")
	stop, failed := make(chan struct{}), make(chan error, 1)
	served := 0
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := net.Dial("unix", socket)
			if err != nil {
				failed <- err
				return
			}
			c.SetDeadline(time.Now().Add(Patience))
			line, err := bufio.NewReader(c).ReadString('\n')
			c.Close()
			if line != "hello\n" {
				failed <- fmt.Errorf("connection %d was answered with %q, %v", served, line, err)
				return
			}
			served++
		}
	}()
	for n := range 10 {
		if said := a.Sandbox("reload", a.Policy(policy(21+n))); !strings.Contains(said, "runs its changed policy") {
			t.Error(said)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if served == 0 {
		t.Error("no connection was served")
	}
	a.noLeftovers("echo.11", "supervisor")
}

// TestReloadSocket: the socket takes plans of nobody but the broker's user, and
// nothing but sealed plans.
func TestReloadSocket(t *testing.T) {
	a := New(t, "injected")
	a.Run("application: {{NAME}}\ncomponents:\n  one: {command: [/bin/sleep, \"1000\"]}\n")
	a.Expect("up after")
	socket := filepath.Join("/run/sandbox", a.Name, "reload")
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the reload socket: %v, %v", st, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	unsealed, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unsealed)
	unix.Write(unsealed, []byte(a.planText()))
	if answer := applied(t, fd, unsealed); answer != "" {
		t.Errorf("an unsealed plan is answered with %q", answer)
	}
	// Nobody else is kept out by it, and what is no plan is refused with words.
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	unix.Ftruncate(unsealed, 5)
	unix.FcntlInt(uintptr(unsealed), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	if answer := applied(t, fd, unsealed); !strings.Contains(answer, "this is not a plan") {
		t.Errorf("what is no plan is answered with %q", answer)
	}
	if said := a.Sandbox("reload", a.Policy("application: {{NAME}}\ncomponents:\n  one: {command: [/bin/sleep, \"1001\"]}\n")); !strings.Contains(said, "runs its changed policy") {
		t.Errorf("and then reload says %q", said)
	}
}

// TestReloadAddresses: the kernel's programs know components that a reload
// changed: what they may send where, with their sockets of before and of now.
func TestReloadAddresses(t *testing.T) {
	a := New(t, "addresses")
	stdlib, _ := filepath.Glob("/usr/lib/python3.*")
	script := a.File("answer.py", `import socket
s = socket.socket(fileno=3)
while True:
    text, whom = s.recvfrom(100)
    s.sendto(text.upper(), whom)
`)
	policy := func(port int, memory string) string {
		return fmt.Sprintf(`application: {{NAME}}
grants: {ask: {listen: "udp:127.0.0.1:%d"}}
components:
  calm: {command: [/bin/sleep, "1000"]}
  answer:
    command: [/usr/bin/python3, -S, %s]
    files: {read: [%s, %s]}
    grants: [ask]
    limits: {memory: %s}
`, port, script, script, stdlib[0], memory)
	}
	ask := func(port int) {
		t.Helper()
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var b [100]byte
		for end := time.Now().Add(Patience); time.Now().Before(end); {
			c.Write([]byte("hello"))
			c.SetReadDeadline(time.Now().Add(time.Second))
			if n, _ := c.Read(b[:]); string(b[:n]) == "HELLO" {
				return
			}
		}
		t.Errorf("port %d does not answer", port)
	}
	here, other := loopback.Number(t), loopback.Number(t)
	a.Run(policy(here, "64M"))
	a.Expect("up after")
	ask(here)
	for _, c := range []struct {
		port   int
		memory string
	}{{here, "65M"}, {other, "65M"}, {other, "66M"}} {
		if said := a.Sandbox("reload", a.Policy(policy(c.port, c.memory))); !strings.Contains(said, "runs its changed policy") {
			t.Fatal(said)
		}
		ask(c.port)
	}
	if said := a.Sandbox("denials", a.Name); strings.Contains(said, "sendto") {
		t.Errorf("denied:\n%s", said)
	}
}

// TestReloadTakesAway: what the new policy does not grant is not in the monitor's
// own root for long.
func TestReloadTakesAway(t *testing.T) {
	a := New(t, "takes-away")
	for _, name := range []string{"kept", "gone", "new"} {
		if err := os.Mkdir(filepath.Join(a.Dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(other string) string {
		return `application: {{NAME}}
grants: {kept: {directory: "{{DIR}}/kept"}, other: {directory: "{{DIR}}/` + other + `"}}
components:
  calm: {command: [/bin/sleep, "1000"], grants: [kept, other]}
`
	}
	a.Run(policy("gone"))
	a.Expect("up after")
	root := fmt.Sprintf("/proc/%d/root%s/", a.command.Process.Pid, a.Dir)
	if _, err := os.Stat(root + "gone"); err != nil {
		t.Fatal(err)
	}
	if said := a.Sandbox("reload", a.Policy(policy("new"))); !strings.Contains(said, "runs its changed policy") {
		t.Fatal(said)
	}
	a.Until("the monitor reaches no more than the new policy grants", func() bool {
		_, err := os.Stat(root + "gone")
		return os.IsNotExist(err)
	})
	for _, name := range []string{"kept", "new"} {
		if _, err := os.Stat(root + name); err != nil {
			t.Error(err)
		}
	}
	if said := a.Sandbox("inspect", "--verify", a.Name); !strings.Contains(said, "the kernel has what the policy asks for") {
		t.Error(said)
	}
	// The path of its program went with its first root.
	if said := a.Sandbox("inspect", strconv.Itoa(a.command.Process.Pid)); !strings.Contains(said, "[monitor], up ") {
		t.Error(said)
	}
}

// applied asks the monitor by hand.
func applied(t *testing.T, socket, planFD int) string {
	t.Helper()
	var m wire.Message
	b, err := m.Begin(wire.Header{Kind: wire.Request, Op: wire.Apply, ID: 1, FDs: 1}).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(socket, b, unix.UnixRights(planFD), nil, 0); err != nil {
		t.Fatal(err)
	}
	var answer [wire.MaximumSize]byte
	n, err := unix.Read(socket, answer[:])
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		return ""
	}
	_, body, err := wire.Parse(answer[:n], 0)
	if err != nil {
		t.Fatal(err)
	}
	return body.String()
}
