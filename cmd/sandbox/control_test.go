package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/test/transcript"
)

// patience is how long anything may take that is done at once on a machine with
// time to spare.
const patience = time.Minute

// controlled is an application that runs for a test.
type controlled struct {
	t       *testing.T
	sandbox string
	name    string
}

// runApplication starts an application and waits until it is up; when the test is
// over nothing of it is left.
func runApplication(t *testing.T, policy string) *controlled {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root; the virtual machine runs it always")
	}
	sandbox, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sandbox); err != nil {
		t.Fatalf("the launcher is not built (run make build): %v", err)
	}
	a := &controlled{t, sandbox, fmt.Sprintf("control-test-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("application: "+a.name+"\n"+policy), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(sandbox, "run", file)
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	t.Cleanup(func() {
		exec.Command(sandbox, "down", a.name).Run()
		select {
		case <-ended:
		case <-time.After(patience):
			c.Process.Kill()
			t.Error("the application does not end")
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if s, err := status(a.name); err == nil && s.State == control.Running {
			return a
		}
		select {
		case <-ended:
			t.Fatalf("the application ended:\n%s", output.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the application does not come up")
		}
	}
}

// do runs a command, with the application's name behind its first words.
func (a *controlled) do(want int, arguments ...string) string {
	a.t.Helper()
	return a.doAs(nil, want, arguments...)
}

func (a *controlled) doAs(as *syscall.Credential, want int, arguments ...string) string {
	a.t.Helper()
	c := exec.Command(a.sandbox, arguments...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := c.CombinedOutput()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	if got != want {
		a.t.Errorf("sandbox %s: status %d, want %d\n%s", strings.Join(arguments, " "), got, want, out)
	}
	return string(out)
}

func (a *controlled) component(name string) control.Component {
	a.t.Helper()
	s, err := status(a.name)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, c := range s.Components {
		if c.Name == name {
			return c
		}
	}
	a.t.Fatalf("there is no component %s", name)
	return control.Component{}
}

// Who sees a line of talker's may send it signals.
const twoComponents = `
components:
  talker:
    command: [/bin/sh, -c, "trap 'echo hung up' HUP; echo hello; echo broken >&2; while :; do sleep 0.1; done"]
    files: {execute: [/bin/sleep]}
    limits: {processes: 4, memory: 32M}
    reload-signal: HUP
  quiet: {command: [/bin/sleep, "1000"], restart-delay: 1ms}
`

// eventually waits for something that another process does.
func (a *controlled) eventually(what string, so func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Errorf("%s: it does not happen", what)
			return
		}
	}
}

func TestControlCommands(t *testing.T) {
	a := runApplication(t, twoComponents)

	a.eventually("logs", func() bool { return strings.Contains(a.do(0, "logs", a.name), "talker: hello") })
	// The two streams are two pipes: which line comes last is not said.
	a.eventually("both streams", func() bool { return strings.Count(a.do(0, "logs", a.name, "talker"), "\n") == 2 })
	if out := a.do(0, "logs", a.name, "talker", "-n", "1"); strings.Count(out, "\n") != 1 {
		t.Errorf("the last line of talker: %q", out)
	}
	if out := a.do(0, "ps", a.name); !strings.Contains(out, "talker") || !strings.Contains(out, "quiet") || strings.Contains(out, "\x1b") {
		t.Errorf("ps: %s", out)
	}
	// Others may run here too, and be deaf.
	if out, _ := exec.Command(a.sandbox, "ps").Output(); !strings.Contains(string(out), a.name) {
		t.Errorf("ps of all: %s", out)
	}
	var s control.Status
	if err := json.Unmarshal([]byte(a.do(0, "status", a.name, "--json")), &s); err != nil || s.Application != a.name {
		t.Errorf("status --json: %v", err)
	}

	a.do(0, "ctl", "signal", a.name, "talker", "HUP")
	a.eventually("a signal", func() bool { return strings.Contains(a.do(0, "logs", a.name), "hung up") })
	a.do(0, "ctl", "reload", a.name, "talker")
	a.eventually("a reload", func() bool { return strings.Count(a.do(0, "logs", a.name), "hung up") == 2 })
	if out := a.do(125, "ctl", "reload", a.name, "quiet"); !strings.Contains(out, "no reload-signal") {
		t.Errorf("reload without a signal: %s", out)
	}

	before := a.component("quiet").Workers[0].PID
	a.do(0, "ctl", "restart", a.name, "quiet")
	if c := a.component("quiet"); !c.State.Up() || c.Workers[0].PID == before {
		t.Errorf("after the restart it is %s, pid %d, before %d", c.State, c.Workers[0].PID, before)
	}
	a.do(0, "ctl", "stop", a.name, "quiet")
	if c := a.component("quiet"); c.State != control.Stopped || c.Running != 0 {
		t.Errorf("after the stop it is %s with %d workers", c.State, c.Running)
	}
	a.do(0, "ctl", "pin", a.name, "quiet", "down")
	if out := a.do(125, "ctl", "start", a.name, "quiet"); !strings.Contains(out, "pinned down") {
		t.Errorf("start of a pinned one: %s", out)
	}
	a.do(0, "ctl", "unpin", a.name, "quiet")
	a.do(0, "ctl", "start", a.name, "quiet")
	if c := a.component("quiet"); !c.State.Up() {
		t.Errorf("after the start it is %s", c.State)
	}
	a.do(0, "ctl", "destroy", a.name, "quiet")
	if c := a.component("quiet"); c.Running != 0 {
		t.Errorf("after the destruction it has %d workers", c.Running)
	}

	destroyed := false
	for line := range strings.Lines(a.do(0, "events", a.name, "--json")) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		destroyed = destroyed || e.Component == "quiet" && strings.Contains(e.Text, "destroyed")
	}
	if !destroyed {
		t.Error("no event tells of the destruction")
	}
	for _, arguments := range [][]string{{"ctl", "pin", a.name, "quiet", "sideways"}, {"ctl", "signal", a.name, "quiet", "NOSUCH"}, {"ctl", "stop", a.name, "nobody"}, {"logs", a.name, "nobody"}} {
		a.do(125, arguments...)
	}
}

// silent is an application whose supervisor takes no connection, as one that is
// out of descriptors or stopped.
func silent(t *testing.T) (name string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("applications of root are looked for in " + rootBase + ": run it as root")
	}
	if err := os.MkdirAll(rootBase, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(rootBase, "silent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return filepath.Base(dir)
}

// A supervisor that does not answer is no reason to wait for ever.
func TestSilentSupervisor(t *testing.T) {
	name := silent(t)
	defer func(usual time.Duration) { answerPatience = usual }(answerPatience)
	answerPatience = 50 * time.Millisecond
	_, err := status(name)
	if want := fmt.Sprintf("application %q: its supervisor has not answered for 50ms; sandbox inspect looks without it", name); err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}

// Nor does it hide the others.
func TestSilentHidesNoOther(t *testing.T) {
	first, a := silent(t), runApplication(t, twoComponents)
	defer func(usual time.Duration) { answerPatience = usual }(answerPatience)
	answerPatience = 10 * time.Second
	workers, err := workersOf([]string{first, a.name, "nobody-" + a.name}, true)
	if err == nil || !strings.Contains(err.Error(), first) || strings.Contains(err.Error(), a.name) {
		t.Errorf("the error is %v", err)
	}
	if len(workers[a.name]) < 2 {
		t.Errorf("its workers are %v", workers[a.name])
	}
}

func TestDown(t *testing.T) {
	a := runApplication(t, twoComponents)
	a.do(0, "down", a.name)
	for _, left := range []string{rootBase + "/" + a.name, "/sys/fs/cgroup/memory/sandbox/" + a.name, "/sys/fs/cgroup/sandbox/" + a.name} {
		if _, err := os.Stat(left); err == nil {
			t.Errorf("%s is there after down", left)
		}
	}
	for _, arguments := range [][]string{{"down", a.name}, {"status", a.name}, {"logs", a.name}, {"ctl", "stop", a.name, "quiet"}} {
		if out := a.do(125, arguments...); !strings.Contains(out, "does not run") {
			t.Errorf("%v: %s", arguments, out)
		}
	}
	file := filepath.Join(t.TempDir(), "quiet.yaml")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"down", file}, {"down", "control_test.go"}, {"status", "control_test.go"}} {
		if out := a.do(125, arguments...); !strings.Contains(out, "that is a file: an application has the name") {
			t.Errorf("%v: %s", arguments, out)
		}
	}
}

func TestFollow(t *testing.T) {
	a := runApplication(t, twoComponents)
	for _, arguments := range [][]string{{"logs", "-f", a.name}, {"events", "-f", a.name}} {
		var out transcript.Transcript
		c := exec.Command(a.sandbox, arguments...)
		c.Stdout = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			// The end of the application is the end of what follows it.
			if err := c.Wait(); err != nil {
				t.Errorf("%v: %v", arguments, err)
			}
		}()
		a.eventually("something is seen", func() bool { return out.String() != "" })
	}
	a.do(0, "down", a.name)
}

// The status is for the policy's group, control for root alone.
func TestPermissions(t *testing.T) {
	adm, err := user.LookupGroup("adm")
	if err != nil {
		t.Skipf("the group of this test is not here: %v", err)
	}
	gid, err := strconv.ParseUint(adm.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	member := &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{uint32(gid)}}
	a := runApplication(t, "control: {read-group: adm}"+twoComponents)
	if out := a.doAs(member, 0, "status", a.name); !strings.Contains(out, "talker") {
		t.Errorf("status for the group: %s", out)
	}
	if out := a.doAs(nobody, 125, "status", a.name); !strings.Contains(out, "only root and the group adm may ask") {
		t.Errorf("status for others: %s", out)
	}
	if out := a.doAs(member, 125, "ctl", "stop", a.name, "quiet"); !strings.Contains(out, "only root may control it") {
		t.Errorf("control by the group: %s", out)
	}
	if c := a.component("quiet"); !c.State.Up() {
		t.Error("the group stopped a component")
	}
}

func TestDenials(t *testing.T) {
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("what is denied in this test is asked in Python, which is not here")
	}
	a := runApplication(t, `
components:
  curious:
    command: [/usr/bin/python3, -c, "import socket, time\ntry: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nexcept OSError: pass\ntime.sleep(1000)"]
    extends: python
    limits: {memory: 64M}
`)
	a.eventually("a denial", func() bool {
		out := a.do(0, "denials", a.name)
		return strings.Contains(out, "1× socket(AF_PACKET, SOCK_RAW, ...)") && strings.Contains(out, "to allow it: components.curious.")
	})
}
