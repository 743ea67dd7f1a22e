package life

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

// chain is a store, what comes after it, and what comes after that.
const chain = `application: {{NAME}}
components:
  store: {command: [/bin/busybox, sleep, "1000"], files: {execute: [/bin/busybox]}, restart: always, restart-delay: 10ms}
  middle: {after: store, command: [/bin/busybox, sleep, "1000"], files: {execute: [/bin/busybox]}}
  web: {after: middle, command: [/bin/busybox, sleep, "1000"], files: {execute: [/bin/busybox]}, restart: always, restart-delay: 10ms}
supervision: {restarts: 1000, within: 1s}
`

// TestSmoothRecovery: a dependency that crashes comes back, and whoever comes
// after it keeps its process; one that was down for want of it comes back too.
func TestSmoothRecovery(t *testing.T) {
	a := New(t, "smooth").Run(chain)
	a.Expect("up after")
	before := a.pids()
	for range 3 {
		old := a.pidOf("store")
		a.Kill(old)
		a.Until("the store is back", func() bool { c := a.component("store"); return c.State.Up() && a.pidOf("store") != old })
	}
	now := a.pids()
	for _, name := range []string{"middle", "web"} {
		if !slices.Equal(before[name], now[name]) {
			t.Errorf("%s was %d and is %d", name, before[name], now[name])
		}
	}

	// All of it is restarted, one after the other, in the order of the start.
	before = a.pids()
	if said := a.Sandbox("ctl", "restart", a.Name); said != "" {
		t.Errorf("a rolling restart says %q", said)
	}
	for _, name := range []string{"store", "middle", "web"} {
		if now := a.pids(); slices.Equal(before[name], now[name]) {
			t.Errorf("%s was not restarted", name)
		}
	}
	a.InOrder("component store: stopped", "component store: ready", "component middle: stopped", "component middle: ready", "component web: stopped", "component web: ready")

	// Nobody starts it over again when all of it was taken down, and the
	// start of the last brings back what it comes after, in order.
	for _, name := range []string{"web", "middle", "store"} {
		if said := a.Sandbox("ctl", "stop", a.Name, name); said != "" {
			t.Error(said)
		}
	}
	if said := a.Sandbox("ctl", "start", a.Name, "web"); said != "" {
		t.Error(said)
	}
	for name, pids := range a.pids() {
		if name != "supervisor" && len(pids) != 1 {
			t.Errorf("%s has the workers %d", name, pids)
		}
	}
}

// TestTried: a component starts behind one that is tried, whether that gets
// ready late, is never ready in time, or waits for one that is not.
func TestTried(t *testing.T) {
	a := New(t, "tried").Run(`application: {{NAME}}
components:
  slow: {ready: {fd: 3}, {{SH}} "sleep 1; echo >&3; exec sleep 1000"]}
  late: {ready: {fd: 3}, ready-timeout: 500ms, restart-delay: 1h, restart-delay-maximum: 1h, {{SH}} "exec sleep 1000"]}
  behind: {after: late, {{SH}} "exec sleep 1000"]}
  web: {after: [{slow: tried}, {late: tried}, {behind: tried}], {{SH}} "exec sleep 1000"]}
`)
	a.Expect("component web: ready")
	states := map[string]control.State{}
	for _, name := range []string{"slow", "late", "behind", "web"} {
		states[name] = a.component(name).State
	}
	if !states["slow"].Up() || states["late"] != control.Failed || states["behind"] != control.Stopped || !states["web"].Up() {
		t.Errorf("the states are %v", states)
	}
	if cause := a.component("web").Cause; !strings.Contains(a.Sandbox("events", a.Name), "without late, behind") {
		t.Errorf("no event says what web does without; its cause is %q", cause)
	}
}

// TestStatusWhileHung: with one component whose start hangs for ever, and one
// whose stop does, the status comes at once. A broker that waited for either
// would answer after minutes, so the bound is generous on a busy machine.
func TestStatusWhileHung(t *testing.T) {
	a := New(t, "hung").Run(`application: {{NAME}}
components:
  hung: {ready: {command: [/bin/busybox, sleep, "1000"]}, ready-timeout: 1h, {{SH}} "exec sleep 1000"]}
  never: {ready: {fd: 3}, ready-timeout: 1h, {{SH}} "exec sleep 1000"]}
  after: {after: never, {{SH}} "exec sleep 1000"]}
  deaf: {stop-timeout: 1h, {{SH}} "trap '' TERM; echo deaf; while true; do sleep 1; done"]}
  well: {{{SH}} "exec sleep 1000"]}
`)
	a.Expect("| deaf")
	a.Expect("component well: ready")
	if said := a.Sandbox("ctl", "stop", "--no-wait", a.Name, "deaf"); said != "" {
		t.Error(said)
	}
	client, err := control.Dial("/run/sandbox/" + a.Name + "/control")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 20 {
		client.SetDeadline(time.Now().Add(Patience))
		reply, err := client.Do(control.Request{Verb: control.AskStatus}, nil)
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]control.State{}
		for _, c := range reply.Status.Components {
			states[c.Name] = c.State
		}
		if states["hung"] != control.Starting || states["never"] != control.Starting || states["after"] != control.Stopped || states["deaf"] != control.Stopping || !states["well"].Up() {
			t.Fatalf("the states are %v", states)
		}
	}
	for _, name := range []string{"hung", "never", "deaf"} {
		if said := a.Sandbox("ctl", "destroy", a.Name, name); said != "" {
			t.Errorf("destroy %s: %s", name, said)
		}
		a.Until("the cgroups of "+name+" are empty", func() bool { return len(a.members(name)) == 0 })
	}
}

// TestFiftyUps: of fifty `sandbox up` of a directory one has it, the others
// succeed, and its application, a program that an interpreter runs, runs once.
func TestFiftyUps(t *testing.T) {
	a := New(t, "fifty")
	a.File("web.py", "import os, time\nopen(os.path.dirname(__file__) + '/starts', 'a').write('x')\ntime.sleep(1000)\n")
	a.Policy(`application: {{NAME}}
components:
  web: {command: [/usr/bin/python3, "{{DIR}}/web.py"], extends: python, files: {write: ["{{DIR}}"]}, user: root}
`)
	if err := unix.Mkdir(filepath.Join(a.Dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.File("d/web.yaml", a.Read("policy.yaml"))
	const n = 50
	var group sync.WaitGroup
	ended := make(chan *exec.Cmd, n)
	var commands []*exec.Cmd
	for range n {
		c := exec.Command(filepath.Join(*binDirectory, "sandbox"), "up", "--idempotent", filepath.Join(a.Dir, "d"))
		c.Stdout, c.Stderr = a.Said, a.Said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		commands = append(commands, c)
		group.Go(func() { c.Wait(); ended <- c })
	}
	defer group.Wait()
	lost := map[*exec.Cmd]bool{}
	for deadline := time.After(3 * Patience); len(lost) < n-1; {
		select {
		case c := <-ended:
			if lost[c] = true; !c.ProcessState.Success() {
				t.Errorf("one ended with %v", c.ProcessState)
			}
		case <-deadline:
			t.Errorf("only %d of %d ended", len(lost), n)
			for _, c := range commands {
				c.Process.Signal(unix.SIGTERM)
			}
			return
		}
	}
	a.Expect("application " + a.Name + ": up after")
	a.Until("its program has started", func() bool { return a.Read("starts") != "" })
	if starts := a.Read("starts"); starts != "x" {
		t.Errorf("its program has started %d times", len(starts))
	}
	for _, c := range commands {
		if !lost[c] {
			c.Process.Signal(unix.SIGTERM)
		}
	}
	if group.Wait(); a.runs(a.Name) {
		t.Error("it runs after the end of its up")
	}
	if n := strings.Count(a.Said.String(), ": up after"); n != 1 {
		t.Errorf("%d instances came up", n)
	}
}
