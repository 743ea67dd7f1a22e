package life

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFinish: the finish command hears how the program ended and is over before
// the next start; its status 125 is a failure for good, and one that hangs is
// killed, at once where somebody destroys the component.
func TestFinish(t *testing.T) {
	a := New(t, "finish")
	a.File("finish", `echo "$1 $2" >> `+a.Dir+`/ends
test -e `+a.Dir+`/hang && sleep 1000
test -e `+a.Dir+`/forgood && exit 125
exit 0
`)
	a.Run(`application: {{NAME}}
components:
  web: { finish: [/bin/busybox, sh, "{{DIR}}/finish"], restart: always, restart-delay: 10ms, restart-delay-maximum: 10ms, {{SH}} "echo start >> {{DIR}}/ends; while ! test -e {{DIR}}/exit; do sleep 0.05; done; rm {{DIR}}/exit; exit 7"] }
  other: { {{SH}} "exec sleep 1000"] }
`)
	ends := func(text string) {
		t.Helper()
		a.Until("the ends are "+text, func() bool { return strings.Join(strings.Fields(a.Read("ends")), " ") == text })
	}
	ends("start")
	a.File("exit", "")
	ends("start 7 0 start")
	a.Kill(a.pidOf("web"))
	ends("start 7 0 start 256 9 start")
	a.File("hang", "")
	a.Kill(a.pidOf("web"))
	ends("start 7 0 start 256 9 start 256 9")
	if c := a.component("web"); c.State != "stopping" {
		t.Errorf("as long as its finish command runs it is %s", c.State)
	}
	ends("start 7 0 start 256 9 start 256 9 start") // after 5 s
	a.Expect("its finish command did not end within 5s")
	a.Kill(a.pidOf("web"))
	ends("start 7 0 start 256 9 start 256 9 start 256 9")
	if said := a.Sandbox("ctl", "destroy", a.Name, "web"); said != "" {
		t.Error(said)
	}
	if left := a.members("web"); len(left) != 0 {
		t.Errorf("destroyed, it still has the processes %v", left)
	}
	a.Remove("hang")
	a.Sandbox("ctl", "start", a.Name, "web")
	ends("start 7 0 start 256 9 start 256 9 start 256 9 start")
	a.File("forgood", "")
	a.Kill(a.pidOf("web"))
	a.Until("it has failed for good", func() bool { c := a.component("web"); return c.State == "failed" && c.RestartAt == nil })
	a.Until("and has no process", func() bool { return len(a.members("web")) == 0 })
	a.Expect("its finish command says so, with status 125")
}

// TestMemoryRule: a leak that is above the limit for three checks in a row leads
// to one restart, by the stop signal and in the component's own time.
func TestMemoryRule(t *testing.T) {
	a := New(t, "leak")
	a.File("web.py", `
import os, signal, sys, time
here = os.path.dirname(sys.argv[0])
def drain(*_):
    time.sleep(0.5)
    open(here + "/drained", "a").write("x")
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
open(here + "/starts", "a").write("x")
if os.path.getsize(here + "/starts") == 1:
    time.sleep(1)
    leak = bytearray(os.urandom(1 << 20)) * 80
time.sleep(1000)
`)
	a.Run(`application: {{NAME}}
components:
  web:
    command: [/usr/bin/python3, "{{DIR}}/web.py"]
    extends: python
    restart: always
    files: {write: ["{{DIR}}"]}
    user: root
    stop-timeout: "{{PATIENCE}}"
    health: {memory: 60M, interval: 100ms, failures: 3}
`)
	a.Expect("failed 3 health checks, the last: it has ")
	a.Expect("of memory, more than 60M")
	events := a.Sandbox("events", a.Name)
	if !regexp.MustCompile(`health check 2 of 3 failed: it has \d+ KiB of memory, more than 60M \(process `).MatchString(events) {
		t.Errorf("events:\n%s", events)
	}
	a.Until("it has started again", func() bool { return a.Read("starts") == "xx" })
	if a.Read("drained") != "x" {
		t.Error("it was not drained before")
	}
	a.Until("it is healthy", func() bool { return a.component("web").Health == "healthy" })
	time.Sleep(time.Second) // ten checks
	if c := a.component("web"); c.Restarts != 1 || a.Read("starts") != "xx" {
		t.Errorf("after %d restarts its starts are %q", c.Restarts, a.Read("starts"))
	}
}

// TestKillable: without a connection a killable component that would not end by
// itself goes at once; with one it gets its time.
func TestKillable(t *testing.T) {
	a := New(t, "killable")
	a.File("echoes.py", strings.Replace(echoes, "import os,", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nimport os,", 1))
	door := filepath.Join(a.Dir, "door")
	a.Run(strings.NewReplacer("ADDRESS", "unix:"+door, "    idle: IDLE\n", "    killable: true\n    stop-timeout: 2s\n", "start: on-demand", "start: with-application").Replace(onDemand))
	a.Expect("up after")
	stop := func() string {
		t.Helper()
		if said := a.Sandbox("ctl", "stop", a.Name, "web"); said != "" {
			t.Error(said)
		}
		return a.component("web").LastEnd
	}
	if how := stop(); how != "killed: its policy calls it killable, and it had no connection" {
		t.Errorf("without a connection: %s", how)
	}
	a.Sandbox("ctl", "start", a.Name, "web")
	c, err := net.Dial("unix", door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 100)); n == 0 {
		t.Fatal(err)
	}
	if how := stop(); how != "killed: it did not stop within 2s" {
		t.Errorf("with a connection: %s", how)
	}
}

// TestFreeze: a frozen component does nothing and loses nothing: its connection
// is served when it is thawed.
func TestFreeze(t *testing.T) {
	a := New(t, "freeze")
	a.File("echoes.py", echoes)
	door := filepath.Join(a.Dir, "door")
	a.Run(strings.NewReplacer("ADDRESS", "unix:"+door, "    idle: IDLE\n", "", "start: on-demand", "start: with-application").Replace(onDemand))
	a.Expect("up after")
	before := a.pidOf("web")
	c, err := net.Dial("unix", door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 100)
	c.Read(b)
	for range 2 { // it is so already
		if said := a.Sandbox("ctl", "freeze", a.Name, "web"); said != "" {
			t.Fatal(said)
		}
	}
	if !strings.Contains(a.Sandbox("status", a.Name), "frozen") {
		t.Error("the status does not say it")
	}
	if state := field("/proc/"+before, "State:"); !strings.HasPrefix(state, "T") {
		t.Errorf("its process is %s", state)
	}
	fmt.Fprint(c, "hello\n")
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := c.Read(b); !os.IsTimeout(err) {
		t.Errorf("a frozen component answers %q, %v", b[:n], err)
	}
	if said := a.Sandbox("ctl", "thaw", a.Name, "web"); said != "" {
		t.Error(said)
	}
	c.SetReadDeadline(time.Now().Add(Patience))
	if n, err := c.Read(b); string(b[:n]) != "hello\n" {
		t.Errorf("thawed it answers %q, %v", b[:n], err)
	}
	if a.pidOf("web") != before {
		t.Error("it is another process")
	}
	a.Sandbox("ctl", "freeze", a.Name, "web")
	a.Signal(unix.SIGTERM) // the end of all lets it go on first
	if status := a.Wait(); status != 0 || strings.Contains(a.Said.String(), "did not stop within") {
		t.Errorf("status %d", status)
	}
}
