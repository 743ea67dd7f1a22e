package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// loaded is an application in which there is always something going on: a
// front end that starts workers without end, a server, and one that takes its
// time to stop.
const loaded = `
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
components:
  web:  {command: [{{PROGRAM}}, program, ask, load work 3], may-start: [work], restart: always}
  work: {command: [{{BUSYBOX}}, sleep, "0.02"], start: per-request, workers: {maximum: 4, queue: 8}}
  door: {command: [{{PROGRAM}}, program, serve, door], grants: [door], restart: always}
  slow: {command: [{{PROGRAM}}, program, stubborn], stop-timeout: 400ms, restart: always}
supervision: {restarts: 100, within: 10s}
`

// survive is what holds after every fault: either the application ends by
// itself, or it can be stopped; it is over in time; nothing is left.
func (a *Application) survive() {
	a.t.Helper()
	select {
	case <-a.ended:
	case <-time.After(200 * time.Millisecond):
		a.Signal(unix.SIGTERM)
	}
	a.Wait()
	a.ExpectNothingLeft(*patience)
}

// worksAgain is the other half: the next start works.
func (a *Application) worksAgain() {
	a.t.Helper()
	a.Run().Ready()
	if answer := talk(a.t, "unix", a.Dir+"/door", "you"); answer != "door heard you" {
		a.t.Errorf("the next start's door answers %q", answer)
	}
	if status := a.Stop(); status != 0 {
		a.t.Errorf("the next start ended with status %d", status)
	}
}

// victim is a process by what it is.
type victim struct {
	role      Role
	component string
}

func (v victim) String() string { return strings.TrimSpace(string(v.role) + " " + v.component) }

// moments are the named steps of a run; each brings the application there.
var moments = []struct {
	name  string
	reach func(*Application)
}{
	{"in the middle of the build", func(a *Application) {
		a.eventually("a compartment is being built", func() bool { return !a.running() || len(a.Groups()) > 0 })
	}},
	{"right after the exec", func(a *Application) {
		a.eventually("it is the monitor", func() bool { return !a.running() || len(a.Of(Monitor, "")) > 0 })
	}},
	{"while the supervisor waits for the others", func(a *Application) {
		a.eventually("there is a supervisor", func() bool { return !a.running() || len(a.Of(Supervisor, "")) > 0 })
	}},
	{"when it is ready", func(a *Application) { a.Ready() }},
	{"under load", func(a *Application) {
		a.Ready()
		a.eventually("workers come and go", func() bool { return len(a.Of(WorkerInit, "work")) > 0 })
	}},
	{"while a compartment is built again", func(a *Application) {
		a.Ready()
		old := a.Of(CompartmentInit, "door")[0]
		old.Kill(unix.SIGKILL)
		a.eventually("the builder runs, or has", func() bool {
			inits := a.Of(CompartmentInit, "door")
			return !a.running() || len(a.Of(Builder, "")) > 0 || len(inits) > 0 && inits[0].Pid != old.Pid
		})
	}},
	{"while it stops", func(a *Application) {
		a.Ready()
		a.Signal(unix.SIGTERM)
		a.Expect(a.Err, "stops: SIGTERM")
	}},
}

var victims = []victim{
	{Launcher, ""}, {Builder, ""}, {Monitor, ""}, {Sweeper, ""}, {Keeper, ""}, {Supervisor, ""},
	{CompartmentInit, "supervisor"}, {CompartmentInit, "web"}, {CompartmentInit, "work"},
	{WorkerInit, "supervisor"}, {WorkerInit, "web"}, {WorkerInit, "work"}, {Program, "web"}, {Program, "slow"},
}

// hit is what must be hit, or the test tests nothing. Some of it is there for a
// few milliseconds only: on a busy machine it is tried again.
var hit = []string{
	"in the middle of the build, launcher", "in the middle of the build, builder", "in the middle of the build, sweeper",
	"right after the exec, monitor", "right after the exec, builder", "right after the exec, compartment's init supervisor",
	"while the supervisor waits for the others, monitor", "while the supervisor waits for the others, builder",
	"while the supervisor waits for the others, supervisor", "while the supervisor waits for the others, compartment's init supervisor",
	"when it is ready, monitor", "when it is ready, supervisor", "when it is ready, sweeper", "when it is ready, keeper",
	"when it is ready, compartment's init web", "when it is ready, worker's init web", "when it is ready, program web",
	"under load, monitor", "under load, worker's init work", "under load, compartment's init work",
	"while a compartment is built again, builder", "while a compartment is built again, keeper",
	"while a compartment is built again, monitor", "while a compartment is built again, sweeper",
	"while it stops, keeper", "while it stops, monitor", "while it stops, supervisor", "while it stops, sweeper", "while it stops, compartment's init supervisor",
}

// lane gives an application a site of its own: launchers that run at the same
// time are told apart by the paths of their programs.
func lane(t *testing.T) *Site {
	t.Helper()
	t.Parallel()
	site(t) // or the test cannot run here
	own, err := newSite(*binDirectory)
	t.Cleanup(own.remove)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// Each process of the application is killed at each step at which it is there.
func TestKillEachAtEachStep(t *testing.T) {
	var mutex sync.Mutex
	hits, tried := map[string]bool{}, map[string]bool{}
	mark := func(set map[string]bool, what string) {
		mutex.Lock()
		defer mutex.Unlock()
		set[what] = true
	}
	for number, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			own := lane(t)
			for _, v := range victims {
				t.Run(v.String(), func(t *testing.T) {
					a := New(t, "step-"+itoa(number))
					a.site = own
					a.Write(loaded)
					what := m.name + ", " + v.String()
					for try := 0; try < 10 && !t.Failed(); try++ {
						done := strikeOnce(a, m.reach, v)
						mark(tried, what)
						if done {
							mark(hits, what)
						}
						if done || !slices.Contains(hit, what) {
							break
						}
					}
					if !t.Failed() {
						a.worksAgain()
					}
				})
			}
		})
	}
	t.Cleanup(func() {
		for _, must := range hit {
			if tried[must] && !hits[must] && !t.Failed() {
				t.Errorf("nothing was hit %s", must)
			}
		}
	})
}

// strikeOnce brings an application to a step, kills the victim there, and says
// whether it met it.
func strikeOnce(a *Application, reach func(*Application), v victim) (met bool) {
	a.t.Helper()
	a.Run()
	reach(a)
	// Some live for a moment only: looked for as long as this step lasts.
	for end := time.Now().Add(300 * time.Millisecond); !met && a.running() && time.Now().Before(end); {
		if found := a.Of(v.role, v.component); len(found) > 0 {
			a.note()
			met = found[len(found)-1].Kill(unix.SIGKILL) == nil
		}
	}
	if v.role == Sweeper {
		// It is replaced when the monitor runs; a stop before that is a
		// power cut.
		a.Err.wait("up after", *patience)
	}
	a.survive()
	return met
}

// What the launcher executes is killed between the fork and the exec, while it
// is one more process with the launcher's program. Of the sweeper the launcher
// does not learn so: the application runs, with another one, and stops as
// always. strace keeps the fork there until it is found.
func TestKilledForkOfTheLauncher(t *testing.T) {
	for _, program := range []string{"sweeper", "builder", "keeper"} {
		t.Run(program, func(t *testing.T) {
			a := New(t, "fork").Write(small)
			a.command = exec.Command("strace", "-D", "-f", "-qq", "-o", filepath.Join(a.Dir, "trace"), "-P", filepath.Join(a.site.Libexec, program),
				"-e", "trace=execve", "-e", "inject=execve:delay_enter=500000", a.site.Sandbox, "run", a.Policy)
			a.start()
			a.eventually("a fork is about to execute the "+program, func() bool {
				for _, p := range a.Of(Fork, "") {
					if executes(p.Pid) == filepath.Join(a.site.Libexec, program) {
						return p.Kill(unix.SIGKILL) == nil
					}
				}
				return false
			})
			if up := a.Err.wait("up after", *patience); up != (program == "sweeper") {
				t.Errorf("up: %v; it said:\n%s", up, a.Err)
			}
			a.survive()
			a.worksAgain()
		})
	}
}

// executes is the program that a process which stands in execve(2) asks for,
// "" for one that does not (proc_pid_syscall(5)).
func executes(pid int) string {
	dir := "/proc/" + itoa(pid)
	var number int
	var path int64
	b, _ := os.ReadFile(dir + "/syscall")
	if fmt.Sscanf(string(b), "%d 0x%x", &number, &path); number != unix.SYS_EXECVE {
		return ""
	}
	memory, err := os.Open(dir + "/mem")
	if err != nil {
		return ""
	}
	defer memory.Close()
	text := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(text, path) // up to the end of what is mapped
	name, _, _ := strings.Cut(string(text[:n]), "\x00")
	return name
}

// No handler of the launcher's takes a signal that asks for the end: one that the
// exec of the monitor interrupts would have taken it for nothing.
func TestLauncherCatchesNoStop(t *testing.T) {
	a := New(t, "caught").Write(small)
	a.eventually("the launcher was looked at while it builds", func() bool {
		a.Run()
		defer a.survive()
		a.eventually("a compartment is being built", func() bool { return !a.running() || len(a.Groups()) > 0 })
		dir := "/proc/" + itoa(a.Pid())
		caught, err := strconv.ParseUint(strings.TrimSpace(statusLine(dir, "SigCgt:")), 16, 64)
		if executable, _ := os.Readlink(dir + "/exe"); err != nil || executable != a.site.Sandbox {
			return false // it is the monitor by now
		}
		for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
			if caught>>(signal-1)&1 != 0 {
				t.Errorf("the launcher has a handler for %s", unix.SignalName(signal))
			}
		}
		return true
	})
}

// A program that is killed is started again, and nobody else notices.
func TestKilledProgramIsStartedAgain(t *testing.T) {
	a := New(t, "again").Write(loaded).Run().Ready()
	for _, role := range []Role{Program, WorkerInit} {
		others := fmt.Sprint(a.Of(Program, "slow"), a.Of(CompartmentInit, ""), a.Of(Supervisor, ""))
		old := a.Of(role, "door")[0]
		old.Kill(unix.SIGKILL)
		a.eventually("the door is served again", func() bool {
			now := a.Of(Program, "door")
			return len(now) == 1 && now[0].Worker != old.Worker
		})
		if answer := talk(t, "unix", a.Dir+"/door", "you"); answer != "door heard you" {
			t.Errorf("after the kill of the %s the door answers %q", role, answer)
		}
		if now := fmt.Sprint(a.Of(Program, "slow"), a.Of(CompartmentInit, ""), a.Of(Supervisor, "")); now != others {
			t.Errorf("others were\n%s\nand are\n%s", others, now)
		}
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A compartment whose init is killed is lost with all its workers; the others
// go on.
func TestKilledCompartmentIsBuiltAgain(t *testing.T) {
	a := New(t, "rebuild").Write(loaded).Run().Ready()
	others := fmt.Sprint(a.Of(Program, "slow"), a.Of(Supervisor, ""))
	old := a.Of(CompartmentInit, "door")[0]
	old.Kill(unix.SIGKILL)
	a.eventually("the door is served again, from another compartment", func() bool {
		now := a.Of(CompartmentInit, "door")
		return len(now) == 1 && now[0].Pid != old.Pid && len(a.Of(Program, "door")) == 1
	})
	if answer := talk(t, "unix", a.Dir+"/door", "you"); answer != "door heard you" {
		t.Errorf("the door answers %q", answer)
	}
	if now := fmt.Sprint(a.Of(Program, "slow"), a.Of(Supervisor, "")); now != others {
		t.Errorf("others were\n%s\nand are\n%s", others, now)
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A monitor that hangs can still be killed, and that is all it takes.
func TestStoppedMonitorIsKilled(t *testing.T) {
	a := New(t, "stopped").Write(loaded).Run().Ready()
	a.Signal(unix.SIGSTOP)
	time.Sleep(200 * time.Millisecond)
	a.note()
	a.Signal(unix.SIGKILL)
	a.Wait()
	a.ExpectNothingLeft(*patience)
	a.worksAgain()
}

// The whole process group is killed, as by a terminal that goes away or an
// impatient service manager; then the sweeper is alone.
func TestKilledProcessGroup(t *testing.T) {
	a := New(t, "group").Write(loaded).Run().Ready()
	for _, p := range a.Processes() {
		if p.Role != Sweeper {
			p.Kill(unix.SIGKILL)
		}
	}
	a.Wait()
	a.ExpectNothingLeft(*patience)
	a.worksAgain()
}

// Random processes at random moments; the seed says which.
func TestRandomFaults(t *testing.T) {
	n := *faultCount
	if n == 0 {
		if n = 40; testing.Short() { // make stress has a thousand
			n = 20
		}
	}
	const lanes = 4
	for number := range lanes {
		t.Run("lane "+itoa(number), func(t *testing.T) {
			own := lane(t)
			random := rand.New(rand.NewPCG(*faultSeed, uint64(number)))
			kinds := map[Role]int{}
			a := New(t, fmt.Sprintf("random-%d-%d", *faultSeed, number))
			a.site = own
			a.Write(loaded)
			for i := range n / lanes {
				delay := time.Duration(random.IntN(400)) * time.Millisecond
				two := random.IntN(4) == 0
				var killed []Process
				a.Run()
				time.Sleep(delay)
				all := a.Processes()
				for k := 0; k < 2 && len(all) > 0 && (k == 0 || two); k++ {
					p := all[random.IntN(len(all))]
					if k > 0 && p.Role == Sweeper {
						break // with another: that is a power cut, see TestStaleState
					}
					a.note()
					p.Kill(unix.SIGKILL)
					kinds[p.Role]++
					killed = append(killed, p)
					swept := slices.ContainsFunc(all, func(p Process) bool { return p.Role == Sweeper })
					if p.Role == Launcher && !swept {
						// Before the sweeper the launcher makes one thing,
						// its directory: empty, it may stay, and the next
						// start takes it. Anything in it may not.
						a.Wait()
						os.Remove("/run/sandbox/" + a.Name)
						break
					}
					if p.Role == Sweeper || !swept {
						// Or a fork that was about to be it. It is replaced when
						// the monitor runs; a stop before that is another power cut.
						a.Err.wait("up after", *patience)
						break
					}
				}
				a.survive()
				if t.Failed() {
					t.Fatalf("fault %d of lane %d (-seed %d -faults %d): after %v killed of %v were %v", i, number, *faultSeed, n, delay, all, killed)
				}
			}
			a.worksAgain()
			t.Logf("killed: %v", kinds)
		})
	}
}

// Without its keeper an application could not mend itself: it stops in order,
// and says why.
func TestKilledKeeperIsSaid(t *testing.T) {
	a := New(t, "kept").Write(loaded).Run().Ready()
	a.Of(Keeper, "")[0].Kill(unix.SIGKILL)
	a.ExpectStatus(125)
	a.saysOnce("sandbox: the keeper ended", "stops: SIGTERM", "ended with status 125")
	a.ExpectNothingLeft(*patience)
}

// saysOnce expects texts on standard error, each once.
func (a *Application) saysOnce(texts ...string) {
	a.t.Helper()
	for _, text := range texts {
		if n := strings.Count(a.Err.String(), text); n != 1 {
			a.t.Errorf("%q is there %d times in:\n%s", text, n, a.Err)
		}
	}
}

// unwilling is an application in which one does not stop before it has to, and one
// waits to be told things.
const unwilling = `
application: {{NAME}}
grants:
  web: {listen: "unix:{{DIR}}/web"}
components:
  web:  {command: [{{PROGRAM}}, program, obey], grants: [web], stop-timeout: 60s}
  slow: {command: [{{PROGRAM}}, program, stubborn], stop-timeout: 60s, environment: {TURN: "0"}}
`

// Nor is it a success when somebody who cannot wait asks again.
func TestKilledKeeperIsNoSuccess(t *testing.T) {
	a := New(t, "kept-again").Write(unwilling).Run().Ready()
	a.Of(Keeper, "")[0].Kill(unix.SIGKILL)
	a.eventually("it ends when it is asked again", func() bool {
		a.Signal(unix.SIGTERM)
		return !a.running()
	})
	a.ExpectStatus(125)
	if strings.Contains(a.Err.String(), "ended with status 0") {
		t.Errorf("it says that all is well:\n%s", a.Err)
	}
}

// Who kills the supervisor ends the application, which says so.
func TestKilledSupervisorIsSaid(t *testing.T) {
	a := New(t, "said").Write(loaded).Run().Ready()
	a.Of(Supervisor, "")[0].Kill(unix.SIGKILL)
	a.ExpectStatus(125)
	a.saysOnce("sandbox: the supervisor ended: killed by SIGKILL; the application ends with it")
}

// stuck is a run whose standard output nobody reads, and which has written more
// than fits.
func stuck(t *testing.T, name string) *Application {
	a := New(t, name).Write(unwilling)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	a.command = exec.Command(a.site.Sandbox, "run", a.Policy)
	a.command.Stdout = writer
	a.start()
	writer.Close()
	a.Ready()
	if said := told("web", "say "+strings.Repeat("x", 200)+" 2000")(a); said != "said" {
		t.Fatalf("it was told to write, and says %q", said)
	}
	return a
}

// A successor that ends before it has written everything is said once, too.
func TestKilledSuccessorIsSaid(t *testing.T) {
	a := stuck(t, "successor")
	first := a.Of(Supervisor, "")[0]
	first.Kill(unix.SIGKILL)
	a.eventually("there is a successor, and it is killed", func() bool {
		for _, p := range a.Of(Supervisor, "") {
			if p.Pid != first.Pid && strings.Contains(commandLine(p.Pid), "successor") {
				return p.Kill(unix.SIGKILL) == nil
			}
		}
		return !a.running()
	})
	a.ExpectStatus(125)
	a.saysOnce("sandbox: the supervisor ended: killed by SIGKILL", "sandbox: what the components had written last is lost: the supervisor's successor ended: killed by SIGKILL")
}

func commandLine(pid int) string {
	b, _ := os.ReadFile("/proc/" + itoa(pid) + "/cmdline")
	return strings.ReplaceAll(string(b), "\x00", " ")
}

// What the components have written last comes out also when the supervisor is lost
// half-way through a reload, and when it hangs and somebody cannot wait for the stop.
func TestSuccessorWritesTheRest(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		lose   func(*Application, Process)
	}{
		{"reload", 125, func(a *Application, supervisor Process) {
			a.File("policy.yaml", strings.Replace(a.fill(unwilling), `TURN: "0"`, `TURN: "1"`, 1))
			reload := exec.Command(a.site.Sandbox, "reload", a.Policy)
			if err := reload.Start(); err != nil {
				a.t.Fatal(err)
			}
			a.t.Cleanup(func() { reload.Wait() })
			a.eventually("slow is being replaced", func() bool { return len(a.Of(CompartmentInit, "slow.2"))+len(a.Of(CompartmentInit, "slow")) > 1 })
			supervisor.Kill(unix.SIGSTOP)
			a.says()
			supervisor.Kill(unix.SIGKILL)
		}},
		{"stop", 128 + int(unix.SIGTERM), func(a *Application, supervisor Process) {
			supervisor.Kill(unix.SIGSTOP)
			a.says()
			a.eventually("it was asked often enough", func() bool {
				a.Signal(unix.SIGTERM)
				return strings.Contains(a.Err.String(), "though asked again")
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "rest-"+c.name).Write(unwilling).Run().Ready()
			c.lose(a, a.Of(Supervisor, "")[0])
			a.ExpectStatus(c.status)
			if got := a.Lines("web"); len(got) != 10 {
				t.Errorf("of ten lines came out: %q; it said:\n%s", got, a.Err)
			}
		})
	}
}

// says lets a component write ten lines.
func (a *Application) says() {
	a.t.Helper()
	if said := told("web", "say word 10")(a); said != "said" {
		a.t.Fatalf("it was told to write, and says %q", said)
	}
}
