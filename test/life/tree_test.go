package life

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// members are the processes in the cgroups of a component's workers, but for
// the workers' inits.
func (a *Application) members(component string) (all []string) {
	for _, group := range a.groups() {
		if !strings.Contains(group, "/"+component+"/w") {
			continue
		}
		b, _ := os.ReadFile(group + "/cgroup.procs")
		for pid := range strings.FieldsSeq(string(b)) {
			inner := strings.Fields(field("/proc/"+pid, "NSpid:"))
			// In each hierarchy the worker has a group.
			if len(inner) > 0 && inner[len(inner)-1] != "1" && !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
	}
	return all
}

// daemonise forks twice, with a session of its own between, and leaves a
// process that ignores what would end it.
const daemonise = `
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        print("daemon", flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
`

const daemons = `application: {{NAME}}
components:
  web:
    command: [/usr/bin/python3, "{{DIR}}/web.py"]
    extends: python
    restart: always
    restart-delay: 10ms
    restart-delay-maximum: 10ms
    limits: {processes: 20}
    files: {read: ["{{DIR}}"]}
    user: root
  other: {command: [/bin/busybox, sleep, "1000"], files: {execute: [/bin/busybox]}}
supervision: {restarts: 1000, within: 1s}
`

// TestDoubleFork: what a worker forked into the background is the worker's own
// still: it ends with it when it crashes, when it is stopped, and when it is
// destroyed, and nothing is left in the component's cgroups.
func TestDoubleFork(t *testing.T) {
	a := New(t, "tree")
	a.File("web.py", daemonise+"time.sleep(1000)\n")
	a.Run(daemons)
	gone := func(pids []string) {
		t.Helper()
		a.Until("gone: "+strings.Join(pids, " "), func() bool {
			for _, pid := range pids {
				if _, err := os.Stat("/proc/" + pid); err == nil {
					return false
				}
			}
			return true
		})
	}
	daemons := 0
	both := func() (pids []string) {
		t.Helper()
		daemons++
		a.Until("it has its daemon", func() bool {
			pids = a.members("web")
			return strings.Count(a.Said.String(), "| daemon") == daemons && len(pids) == 2
		})
		return pids
	}
	a.Expect("up after")
	before := both()
	a.Kill(strconv.Itoa(int(a.pids()["web"][0])))
	gone(before)
	for _, verb := range []string{"stop", "destroy"} {
		before = both()
		a.Until(verb, func() bool { return a.Sandbox("ctl", verb, a.Name, "web") == "" })
		gone(before)
		if left := a.members("web"); len(left) > 0 {
			t.Errorf("after %s the component's cgroups hold %q", verb, left)
		}
		if said := a.Sandbox("ctl", "start", a.Name, "web"); said != "" {
			t.Error(said)
		}
	}
	before = both()
	a.Signal(unix.SIGTERM)
	a.Wait()
	gone(before)
	a.Until("no cgroup is left", func() bool { return len(a.groups()) == 0 })
}
