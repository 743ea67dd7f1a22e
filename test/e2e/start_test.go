package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// again starts the same policy a second time and returns status and messages.
func (a *Application) again(flags ...string) (int, string) {
	a.t.Helper()
	c := exec.Command(a.site.Sandbox, append(append([]string{"run"}, flags...), a.Policy)...)
	b, _ := c.CombinedOutput()
	return exitStatus(c.ProcessState), string(b)
}

// Two brokers of one application never run at once: the second one says so and
// disturbs nothing; with --idempotent it is content.
func TestStartsTwice(t *testing.T) {
	a := New(t, "twice").Write(sleeper).Run().Ready()
	before := fmt.Sprint(a.Processes())
	status, text := a.again()
	if status != 125 || !strings.Contains(text, "runs already") || !strings.Contains(text, "process "+itoa(a.Pid())+";") {
		t.Errorf("status %d, %s", status, text)
	}
	status, text = a.again("--idempotent")
	if status != 0 || !strings.Contains(text, "runs already") {
		t.Errorf("with --idempotent: status %d, %s", status, text)
	}
	if after := fmt.Sprint(a.Processes()); after != before {
		t.Errorf("there were\n%s\nand are\n%s", before, after)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A broker that was killed does not run any more, though its sweeper has not
// begun: the next start waits for that, with --idempotent too.
func TestStartBeforeTheSweeper(t *testing.T) {
	for _, flags := range [][]string{nil, {"--idempotent"}} {
		a := New(t, "unswept").Write(sleeper).Run().Ready()
		sweeper := a.Of(Sweeper, "")[0]
		sweeper.Kill(unix.SIGSTOP)
		a.note()
		a.Signal(unix.SIGKILL)
		a.Wait()
		looks, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(looks)
		if _, err := unix.InotifyAddWatch(looks, "/run/sandbox/"+a.Name+"/pid", unix.IN_OPEN|unix.IN_CLOSE); err != nil {
			t.Fatal(err)
		}
		a.Run(flags...)
		seen := 0
		a.eventually("the next start has looked at the pid three times, or has ended", func() bool {
			var events [4096]byte
			if n, err := unix.Read(looks, events[:]); err == nil {
				seen += n / unix.SizeofInotifyEvent
			}
			return seen >= 6 || !a.running()
		})
		sweeper.Kill(unix.SIGCONT)
		a.Ready()
		if status := a.Stop(); status != 0 {
			t.Errorf("status %d", status)
		}
	}
}

// Of fifty that start at once exactly one runs, and the others know whose it is.
func TestFiftyStartAtOnce(t *testing.T) {
	a := New(t, "fifty").Write(sleeper)
	const n = 50
	commands := make([]*exec.Cmd, n)
	outputs := make([]*Output, n)
	var group sync.WaitGroup
	ended := make(chan int, n)
	for i := range commands {
		outputs[i] = newOutput()
		commands[i] = exec.Command(a.site.Sandbox, "run", a.Policy)
		commands[i].Stderr = outputs[i]
		if err := commands[i].Start(); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			commands[i].Wait()
			ended <- i
		})
	}
	lost := map[int]bool{}
	for deadline := time.After(2 * *patience); len(lost) < n-1; {
		select {
		case i := <-ended:
			lost[i] = true
		case <-deadline:
			t.Fatalf("only %d of %d starts ended", len(lost), n)
		}
	}
	winner := -1
	for i, c := range commands {
		if !lost[i] {
			winner = i
			continue
		}
		if status := exitStatus(c.ProcessState); status != 125 {
			t.Errorf("start %d ended with %d: %s", i, status, outputs[i])
		}
	}
	if winner < 0 {
		t.Fatal("none runs")
	}
	if !outputs[winner].wait("up after", *patience) {
		t.Errorf("the one that is left does not come up: %s", outputs[winner])
	}
	for i := range lost {
		if want := fmt.Sprintf("its broker is process %d", commands[winner].Process.Pid); !strings.Contains(outputs[i].String(), want) {
			t.Errorf("start %d does not say %q: %s", i, want, outputs[i])
		}
	}
	if monitors := a.Of(Monitor, ""); len(monitors) != 1 {
		t.Errorf("monitors: %v", monitors)
	}
	commands[winner].Process.Signal(unix.SIGTERM)
	group.Wait()
	if status := exitStatus(commands[winner].ProcessState); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
	a.ExpectNothingLeft(0)
}

// What a power cut leaves is swept up by the next start: everything is killed
// at once, the sweeper too, so that nobody can.
func TestStaleState(t *testing.T) {
	a := New(t, "stale").Write(`
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
components:
  web:   {command: [{{PROGRAM}}, program, serve, web], grants: [door]}
  other: {command: [{{BUSYBOX}}, sleep, "1000"]}
`)
	for round := range 3 {
		a.Run().Ready()
		all := a.Processes()
		// The sweeper first, and stopped before that, so that it sees nothing.
		for _, signal := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
			for _, role := range []Role{Sweeper, Monitor} {
				for _, p := range all {
					if p.Role == role {
						p.Kill(signal)
					}
				}
			}
		}
		a.Wait()
		a.eventually("every process is gone", func() bool { return len(a.Processes()) == 0 })
		if _, err := os.Stat("/run/sandbox/" + a.Name + "/pid"); err != nil {
			t.Fatalf("round %d: nothing is stale, so nothing is tested: %v", round, err)
		}
		if len(a.Groups()) == 0 {
			t.Fatalf("round %d: no cgroup is stale", round)
		}
	}
	// The number in the file is another process's by now: nobody asks it.
	if err := os.WriteFile("/run/sandbox/"+a.Name+"/pid", fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		t.Fatal(err)
	}
	a.Run().Ready()
	if answer := talk(t, "unix", a.Dir+"/door", "you"); answer != "web heard you" {
		t.Errorf("door answers %q", answer)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A socket file that somebody listens on is not ours to remove.
func TestForeignSocketStays(t *testing.T) {
	a := New(t, "foreign").Write(`
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
components:
  web: {command: [{{PROGRAM}}, program, serve, web], grants: [door]}
`)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: a.Dir + "/door"}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 5); err != nil {
		t.Fatal(err)
	}
	a.Run()
	if status := a.Wait(); status != 125 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(a.Err.String(), "policy.yaml:4:") || !strings.Contains(a.Err.String(), "address already in use") {
		t.Errorf("the message: %s", a.Err)
	}
	if _, err := os.Stat(a.Dir + "/door"); err != nil {
		t.Errorf("somebody else's socket file was removed: %v", err)
	}
	os.Remove(a.Dir + "/door")
	unix.Close(fd)
	a.ExpectNothingLeft(0)
}

// Who is started on some of the machine's processors stays there, with every
// component.
func TestStaysOnItsProcessors(t *testing.T) {
	// The last of those that there are: on a machine with one it is all.
	var mine, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	for n := range len(mine) * 64 {
		if mine.IsSet(n) {
			one.Zero()
			one.Set(n)
		}
	}
	// A process has the processors of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	a := New(t, "processors")
	a.Write(`
application: {{NAME}}
components:
  web: {command: [{{BUSYBOX}}, sleep, "1000"]}
`).Run()
	if err := unix.SchedSetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	a.Ready()
	expect := func() {
		t.Helper()
		seen := map[Role]bool{}
		for _, p := range append(a.Processes(), Process{Pid: a.Pid(), Role: Monitor}) {
			var has unix.CPUSet
			if err := unix.SchedGetaffinity(p.Pid, &has); err == nil && has != one {
				t.Errorf("%v may use the processors %s", p, statusLine("/proc/"+itoa(p.Pid), "Cpus_allowed_list:"))
			}
			seen[p.Role] = true
		}
		for _, role := range []Role{Supervisor, Program} {
			if !seen[role] {
				t.Errorf("no %v was seen", role)
			}
		}
	}
	expect()
	// A compartment that is built anew too: its builder is the keeper's child.
	before := a.Of(CompartmentInit, "web")[0].Pid
	unix.Kill(before, unix.SIGKILL)
	a.eventually("the compartment is built again", func() bool {
		inits, programs := a.Of(CompartmentInit, "web"), a.Of(Program, "web")
		return len(inits) == 1 && inits[0].Pid != before && len(programs) == 1
	})
	expect()
	a.Stop()
}

// A real-time task goes before all others of the machine, which no policy can
// grant: whoever starts an application as one is told, and it runs as ever. On
// cgroup v1 groups may refuse such a task.
func TestStartsFromRealTime(t *testing.T) {
	for option, name := range map[string]string{"--fifo": "SCHED_FIFO", "--rr": "SCHED_RR"} {
		t.Run(name, func(t *testing.T) {
			a := New(t, "real-time").Write(sleeper)
			a.command = exec.Command("chrt", option, "1", a.site.Sandbox, "run", a.Policy)
			a.start()
			a.Ready()
			if !strings.Contains(a.Err.String(), "sandbox: started with "+name+", which no policy can grant") {
				t.Errorf("it does not say that it left %s:\n%s", name, a.Err)
			}
			for _, p := range a.Processes() {
				threads, _ := os.ReadDir("/proc/" + itoa(p.Pid) + "/task")
				for _, thread := range threads {
					number, _ := strconv.Atoi(thread.Name())
					is, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(number), 0, 0)
					if errno == 0 && is != unix.SCHED_NORMAL {
						t.Errorf("thread %d of %s has scheduling policy %#x", number, p, is)
					}
				}
			}
			if status := a.Stop(); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}
