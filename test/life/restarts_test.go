package life

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var restartCount = flag.Int("restarts", 100, "how many restarts TestRestartsLeaveNothing makes")

// size is what restarts must not let grow. The monitor's memory is only
// printed: a collector's heap goes up and down.
type size struct{ descriptors, groups int }

func (a *Application) size() (s size) {
	a.t.Helper()
	fds, err := os.ReadDir("/proc/" + strconv.Itoa(a.command.Process.Pid) + "/fd")
	if err != nil {
		a.t.Fatal(err)
	}
	s.descriptors = len(fds)
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, a.Name) {
			s.groups++
		}
		return nil
	})
	return s
}

func (a *Application) memory() string {
	a.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(a.command.Process.Pid) + "/status")
	if err != nil {
		a.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

// Restarts without end, and the monitor has no more than at the beginning.
func TestRestartsLeaveNothing(t *testing.T) {
	a := New(t, "restarts").Run(`application: {{NAME}}
components:
  one: {command: [/bin/busybox, sleep, "1000"], files: {execute: [/bin/busybox]}}
`)
	a.Expect("up after")
	a.Sandbox("ctl", "restart", a.Name, "one")
	before, memory := a.size(), a.memory()
	for range *restartCount {
		a.Sandbox("ctl", "restart", a.Name, "one")
	}
	a.Until("it has what it had", func() bool { return a.size() == before })
	a.Until("each restart has been said", func() bool { return strings.Count(a.Said.String(), "ready after") >= *restartCount })
	t.Logf("%d restarts: %+v; the monitor's VmRSS was %s and is %s", *restartCount, before, memory, a.memory())
}
