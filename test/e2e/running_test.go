package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What runs out while an application runs. (Single calls that fail are in
// inject_test.go and failing_test.go.)

// answerTime is how long the door may take to answer once.
const answerTime = 5 * time.Second

// answers says whether the door is open.
func (a *Application) answers() bool {
	c, err := net.DialTimeout("unix", a.Dir+"/door", answerTime)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTime))
	fmt.Fprintln(c, "you")
	text := make([]byte, 100)
	n, _ := c.Read(text)
	return strings.HasPrefix(string(text[:n]), "door heard you")
}

// scarce breaks two components of a running application while nothing more is
// to be had, waits until each was started again, or was not, gives back, and
// expects that all works again or that the application has ended and said why.
func (a *Application) scarce(take, give func()) {
	a.t.Helper()
	take()
	mark := len(a.Err.String())
	for _, p := range a.Of(Program, "door") {
		p.Kill(unix.SIGKILL)
	}
	for _, p := range a.Of(CompartmentInit, "slow") {
		p.Kill(unix.SIGKILL)
	}
	a.eventually("both were tried again, or it ended", func() bool {
		news := a.Err.String()[mark:]
		return !a.running() || strings.Count(news, "component slow: ") > 1 && strings.Count(news, "component door: ") > 1
	})
	asked := exec.Command(a.site.Sandbox, "status", a.Name)
	if err := asked.Start(); err != nil {
		a.t.Fatal(err)
	}
	give()
	asked.Wait() // answered or not, it ends
	a.eventually("all works again, or it ended", func() bool {
		return !a.running() || a.answers() && len(a.Of(Program, "work")) > 0 && len(a.Of(Program, "slow")) > 0
	})
	a.Signal(unix.SIGTERM)
	status := a.Wait()
	a.ExpectNothingLeft(*patience)
	if said := a.Err.String(); strings.Contains(said, "panic: ") || status != 0 && !strings.Contains(said, "sandbox: ") {
		a.t.Errorf("it ended with status %d and said:\n%s", status, said)
	}
}

// A process of the broker may open no more descriptors.
func TestOutOfDescriptorsAtWork(t *testing.T) {
	own := lane(t)
	for _, role := range []Role{Monitor, Supervisor, Keeper} {
		t.Run(string(role), func(t *testing.T) {
			a := New(t, "descriptors")
			a.site = own
			a.Write(loaded).Run().Ready()
			pid := a.Of(role, "")[0].Pid
			var before unix.Rlimit
			if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
				t.Fatal(err)
			}
			limit := func(l unix.Rlimit) {
				if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &l, nil); err != nil && a.running() {
					t.Fatal(err)
				}
			}
			// Those that it has stay open; none comes to them.
			a.scarce(func() { limit(unix.Rlimit{Cur: 1, Max: before.Max}) }, func() { limit(before) })
		})
	}
}

// An init that has no number for another descriptor refuses the worker that it is
// asked for, and the compartment stays.
func TestInitOutOfDescriptors(t *testing.T) {
	a := New(t, "full-init").Write(sleeper + "    restart: always\n    restart-delay: 10ms\n    restart-delay-maximum: 10ms\n").Run().Ready()
	init := a.Of(CompartmentInit, "web")[0]
	var before unix.Rlimit
	if err := unix.Prlimit(init.Pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(init.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: before.Max}, nil); err != nil {
		t.Fatal(err)
	}
	a.Of(Program, "web")[0].Kill(unix.SIGKILL)
	a.Expect(a.Err, "component web: fork it: too many open files; restarts")
	if err := unix.Prlimit(init.Pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	a.eventually("it runs again", func() bool { return len(a.Of(Program, "web")) > 0 })
	if now := a.Of(CompartmentInit, "web"); len(now) != 1 || now[0].Pid != init.Pid {
		t.Errorf("the init was process %d, now there is %v", init.Pid, now)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// The application's cgroup may have no more groups, or processes, or memory.
func TestGroupIsFull(t *testing.T) {
	own := lane(t)
	for _, c := range []struct{ file, none, all string }{
		{"cgroup.max.descendants", "0", "max"},
		{"pids.max", "0", "max"},
		{"memory.max", "1M", "max"},
		{"memory.limit_in_bytes", "1M", "-1"}, // the same of v1
	} {
		if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); strings.HasPrefix(c.file, "memory.") && (err == nil) != (c.file == "memory.limit_in_bytes") {
			continue
		}
		t.Run(c.file, func(t *testing.T) {
			a := New(t, "full-group")
			a.site = own
			a.Write(loaded).Run().Ready()
			var files []string
			for _, dir := range a.Groups() {
				file := filepath.Join(dir, c.file)
				if _, err := os.Stat(file); err == nil && filepath.Base(dir) == a.Name {
					files = append(files, file)
				}
			}
			if len(files) == 0 {
				t.Skipf("cgroup v1 has no %s; the virtual machine has v2", c.file)
			}
			write := func(value string) {
				for _, file := range files {
					// Less memory than is used may be refused: then it is as little as can be.
					if err := os.WriteFile(file, []byte(value), 0); err != nil && !os.IsNotExist(err) && !strings.HasPrefix(c.file, "memory.") {
						t.Fatal(err)
					}
				}
			}
			a.scarce(func() { write(c.none) }, func() { write(c.all) })
		})
	}
}

// The file system of the state directory has no room: one of its own, in a
// mount namespace of its own.
func TestFullDiskAtWork(t *testing.T) {
	a := New(t, "full-disk").Write(loaded)
	if err := os.MkdirAll("/run/sandbox", 0o755); err != nil { // which no application may have made yet
		t.Fatal(err)
	}
	a.command = exec.Command("sh", "-c", `mount -t tmpfs -o mode=755,size=8m full /run/sandbox && exec "$1" run "$2"`, "sh", a.site.Sandbox, a.Policy)
	a.command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	a.start()
	a.Ready()
	full := fmt.Sprintf("/proc/%d/root/run/sandbox/filler", a.Of(Sweeper, "")[0].Pid)
	a.scarce(func() {
		filler, err := os.Create(full)
		if err != nil {
			t.Fatal(err)
		}
		defer filler.Close()
		for {
			if _, err := filler.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}, func() { os.Remove(full) })
}
