package e2e

import (
	"fmt"
	"os"
	"os/exec"
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
