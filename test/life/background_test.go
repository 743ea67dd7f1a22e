package life

import (
	"slices"
	"strings"
	"testing"
)

// TestBackground: a daemon that puts itself into the background is followed: it
// is up as long as it runs, is restarted when it dies there, hears the stop
// signal, and is gone when it is stopped.
func TestBackground(t *testing.T) {
	a := New(t, "background")
	a.File("web.py", strings.ReplaceAll(`
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
def stop(*_):
    open("DIR/stopped", "a").write("x")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open("DIR/starts", "a").write("x")
time.sleep(1000)
`, "DIR", a.Dir))
	a.Run(strings.Replace(strings.Replace(daemons, "restart: always", "restart: on-failure\n    background: true", 1), "files: {read:", "files: {write:", 1))
	a.Expect("up after")
	a.Until("the daemon runs", func() bool { return a.Read("starts") == "x" && len(a.members("web")) == 1 })
	if c := a.component("web"); !c.State.Up() || c.Restarts != 0 {
		t.Errorf("it is %s after %d restarts", c.State, c.Restarts)
	}
	a.Kill(a.members("web")[0])
	a.Until("another daemon runs", func() bool { return a.Read("starts") == "xx" && len(a.members("web")) == 1 })
	if c := a.component("web"); c.Restarts != 1 || c.LastEnd != "killed by SIGKILL" {
		t.Errorf("%d restarts, the last end: %s", c.Restarts, c.LastEnd)
	}
	if said := a.Sandbox("ctl", "stop", a.Name, "web"); said != "" {
		t.Error(said)
	}
	if left := a.members("web"); a.Read("stopped") != "x" || len(left) > 0 {
		t.Errorf("stopped %q, left %q", a.Read("stopped"), left)
	}
	if end := a.component("web").LastEnd; end != "exited with status 0" {
		t.Errorf("its end was: %s", end)
	}
	if slices.Contains(a.pids()["other"], 0) {
		t.Error("the other component is down")
	}
}

// Without the word the daemon ends with the process that started it, which looks
// like a program that had nothing to do: whoever reads that hears of the word.
func TestBackgroundUnsaid(t *testing.T) {
	for _, c := range []struct {
		name, program string
		hint          bool
	}{
		{"unsaid", "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(1000)\n", true},
		{"alone", "import os\nif os.fork(): os.wait()\n", false},
	} {
		a := New(t, c.name)
		a.File("web.py", c.program)
		a.Run(strings.Replace(daemons, "restart: always", "restart: never", 1))
		a.Expect("web: exited with status 0; its policy does not restart it")
		if hint := strings.Contains(a.Said.String(), "has background: true"); hint != c.hint {
			t.Errorf("%s: it is told of background: %v", c.name, hint)
		}
	}
}
