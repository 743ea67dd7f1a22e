package life

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What an operator asks for while something else is under way.

// TestStoppedAtStop: a component that somebody has stopped (SIGSTOP) does not hear
// the stop signal, and is killed when its time is over.
func TestStoppedAtStop(t *testing.T) {
	a := New(t, "stopped").Run(`application: {{NAME}}
components:
  web: { stop-timeout: 300ms, {{SH}} "exec sleep 1000"] }
  next: { after: web, {{SH}} "exec sleep 1000"] }
`)
	a.Expect("up after")
	pid, _ := strconv.Atoi(a.pidOf("web"))
	unix.Kill(pid, unix.SIGSTOP)
	a.Signal(unix.SIGTERM)
	if status := a.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	a.Expect("component next: stopped: killed by SIGTERM")
	a.Expect("component web: stopped: killed: it did not stop within 300ms")
}

// TestReloadWhileStarting: a component that never gets ready is given another
// policy, by which it does; who waits for it starts then, and the application is up.
func TestReloadWhileStarting(t *testing.T) {
	const policy = `application: {{NAME}}
components:
  slow: { ready: {fd: 3}, ready-timeout: 1h, {{SH}} "echo begun; exec sleep 1000"] }
  web: { after: slow, {{SH}} "exec sleep 1000"] }
`
	a := New(t, "starting").Run(policy)
	a.Expect("| begun")
	file := a.Policy(strings.Replace(policy, `echo begun`, `echo >&3`, 1))
	if said := a.Sandbox("reload", file); !strings.Contains(said, "changed   slow") {
		t.Errorf("reload says %q", said)
	}
	a.Expect("up after")
	if c := a.component("web"); !c.State.Up() {
		t.Errorf("web is %s", c.State)
	}
}

// TestReloadWhileWaiting: a component that waits for its restart starts at once
// with a changed policy, and waits on where another's has changed.
func TestReloadWhileWaiting(t *testing.T) {
	const policy = `application: {{NAME}}
components:
  web: { restart-delay: 1h, restart-delay-maximum: 1h, {{SH}} "echo one; exit 1"] }
  side: { {{SH}} "exec sleep 1000"] }
`
	a := New(t, "waiting").Run(policy)
	a.Expect("component web: exited with status 1; restarts in ") // an hour, but for the time that it ran
	other := strings.Replace(policy, "sleep 1000", "sleep 1001", 1)
	before := a.pidOf("side")
	a.Sandbox("reload", a.Policy(other))
	a.Until("the other is another", func() bool { return a.pidOf("side") != before })
	if c := a.component("web"); c.RestartAt == nil || c.Total != 1 {
		t.Errorf("it has started %d times, and restarts at %v", c.Total, c.RestartAt)
	}
	a.Sandbox("reload", a.Policy(strings.Replace(other, "echo one", "echo two", 1)))
	a.Expect("| two")
	a.Until("it waits again", func() bool { c := a.component("web"); return c.RestartAt != nil && c.Total == 2 })
}

// TestStopWhileReloading: a reload that waits for the end of a component is called
// off by a stop, and hears it.
func TestStopWhileReloading(t *testing.T) {
	const policy = `application: {{NAME}}
components:
  deaf: { stop-timeout: 6s, {{SH}} "trap '' TERM; echo deaf; while true; do sleep 0.1; done"] }
  side: { {{SH}} "exec sleep 1000"] }
`
	a := New(t, "called-off").Run(policy)
	a.Expect("| deaf")
	reload := exec.Command(filepath.Join(*binDirectory, "sandbox"), "reload", a.Policy(strings.Replace(policy, "sleep 0.1", "sleep 0.2", 1)))
	var said strings.Builder
	reload.Stdout, reload.Stderr = &said, &said
	if err := reload.Start(); err != nil {
		t.Fatal(err)
	}
	a.Until("it is being replaced", func() bool { return a.component("deaf").State == "stopping" })
	a.Signal(unix.SIGTERM)
	if status := a.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if reload.Wait(); reload.ProcessState.ExitCode() != 125 || !strings.Contains(said.String(), "the application is stopping") {
		t.Errorf("reload ends with %d and says %q", reload.ProcessState.ExitCode(), said.String())
	}
}

// TestMonitorStandsStill: a monitor that is stopped for longer than a component's
// watchdog is no reason to end the component, which went on speaking.
func TestMonitorStandsStill(t *testing.T) {
	a := New(t, "still")
	a.File("web.py", `
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"READY=1\nMAINPID=1")
while True:
    s.send(b"WATCHDOG=1")
    time.sleep(0.1)
`)
	a.Run(strings.Replace(storing, "ready: notify", "ready: notify\n    watchdog: 2s", 1))
	a.Expect("up after")
	before := a.pidOf("web")
	a.Signal(unix.SIGSTOP)
	time.Sleep(5 * time.Second) // for which the supervisor hears nothing
	a.Signal(unix.SIGCONT)
	time.Sleep(3 * time.Second) // in which it would find out
	if now := a.pidOf("web"); now != before || a.component("web").Restarts != 0 {
		t.Errorf("it was process %s and is %s", before, now)
	}
}
