package life

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulkhead/broker/control"
)

var restartCount = flag.Int("restarts", 100, "how many restarts TestRestartsLeaveNothing makes")

// size is what restarts must not let grow: of all processes of an application
// together, the broker's and the compartments', and of the machine.
type size struct{ processes, descriptors, mounts, groups, state int }

func (a *Application) size() (s size) {
	a.t.Helper()
	for _, pid := range a.processes() {
		fds, err := os.ReadDir("/proc/" + pid + "/fd")
		if err != nil {
			continue // it has ended meanwhile
		}
		s.processes++
		s.descriptors += len(fds)
		s.mounts += a.mounts(pid)
	}
	s.mounts += a.mounts("self")
	s.groups = len(a.groups())
	filepath.WalkDir("/run/sandbox/"+a.Name, func(_ string, _ fs.DirEntry, err error) error {
		if err == nil {
			s.state++
		}
		return nil
	})
	return s
}

// steady is the size once it does not change any more: what the start needed
// goes by and by.
func (a *Application) steady() (s size) {
	a.t.Helper()
	same := 0
	a.Until("its size is steady", func() bool {
		time.Sleep(100 * time.Millisecond)
		if now := a.size(); now == s {
			same++
		} else {
			s, same = now, 0
		}
		return same == 10
	})
	return s
}

// mounts are those that a process sees: of a compartment all, of others, who see
// what else goes on on the machine, the application's.
func (a *Application) mounts(pid string) (n int) {
	groups, _ := os.ReadFile("/proc/" + pid + "/cgroup")
	inside := strings.Contains(string(groups), "/"+a.Name+"/")
	text, _ := os.ReadFile("/proc/" + pid + "/mountinfo")
	for line := range strings.Lines(string(text)) {
		if inside || strings.Contains(line, a.Name) {
			n++
		}
	}
	return n
}

// groups are the application's cgroups in all hierarchies.
func (a *Application) groups() (all []string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path+"/", "/"+a.Name+"/") {
			all = append(all, path)
		}
		return nil
	})
	return all
}

// processes are the monitor, what it has started itself, and everybody in the
// application's cgroups.
func (a *Application) processes() (all []string) {
	monitor := strconv.Itoa(a.command.Process.Pid)
	directories, _ := filepath.Glob("/proc/[0-9]*")
	for _, directory := range directories {
		pid := filepath.Base(directory)
		groups, _ := os.ReadFile(directory + "/cgroup")
		if pid == monitor || strings.Contains(string(groups), "/"+a.Name+"/") || field(directory, "PPid:") == monitor {
			all = append(all, pid)
		}
	}
	return all
}

// field is a line of a process's status.
func field(directory, key string) string {
	text, _ := os.ReadFile(directory + "/status")
	_, after, _ := strings.Cut(string(text), "\n"+key)
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

// memory is the proportional set size of the whole application, in kilobytes.
func (a *Application) memory() (total int) {
	a.t.Helper()
	for _, pid := range a.processes() {
		text, _ := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		_, after, _ := strings.Cut(string(text), "\nPss:")
		if fields := strings.Fields(after); len(fields) > 0 {
			n, _ := strconv.Atoi(fields[0])
			total += n
		}
	}
	return total
}

// mayGrow is how much more memory the application may have after the last
// nine tenths of the restarts than after the first, in kilobytes: the
// collectors' heaps go up and down.
const mayGrow = 8 << 10

// Restarts without end, by an operator and by crashes in turn, and nobody has
// more than at the beginning.
func TestRestartsLeaveNothing(t *testing.T) {
	a := New(t, "restarts").Run(`application: {{NAME}}
components:
  one:
    {command: [/bin/busybox, sleep, "100000"], files: {execute: [/bin/busybox]}, restart: always, restart-delay: 1ms, restart-delay-maximum: 1ms}
supervision: {restarts: 1000000, within: 1s}
`)
	a.Expect("up after")
	client, err := control.Dial("/run/sandbox/" + a.Name + "/control")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// worker is the one that runs, 0 when none does.
	worker := func() (pid uint32) {
		reply, err := client.Do(control.Request{Verb: control.AskPS, Component: "one"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range reply.Workers {
			pid = w.PID
		}
		return pid
	}
	again := func(number int) {
		old := worker()
		if number%2 == 0 {
			if _, err := client.Do(control.Request{Verb: control.Restart, Component: "one", Wait: true}, nil); err != nil {
				t.Fatalf("restart %d: %v", number, err)
			}
		} else {
			a.Kill(strconv.Itoa(int(old)))
		}
		a.Until(fmt.Sprintf("another worker than %d, restart %d", old, number), func() bool { now := worker(); return now != 0 && now != old })
	}
	again(0)
	again(1)
	before := a.steady()
	first, tenth := a.memory(), 0
	for number := range *restartCount {
		again(number)
		if number == *restartCount/10 {
			tenth = a.memory()
		}
	}
	after := before
	t.Cleanup(func() {
		if after != before {
			t.Logf("it had %+v, and has %+v", before, after)
		}
	})
	a.Until("it has what it had", func() bool {
		after = a.size()
		return after == before
	})
	last := a.memory()
	t.Logf("%d restarts: %+v; PSS of all %d kB, after a tenth %d kB, at the end %d kB", *restartCount, before, first, tenth, last)
	if last > tenth+mayGrow {
		t.Errorf("its memory has grown from %d kB to %d kB", tenth, last)
	}
}
