package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/test/e2e/injector"
)

// working is an application that does, step by step, what a monitor is asked
// for at work.
const working = `
application: {{NAME}}
grants:
  web:   {listen: "unix:{{DIR}}/web"}
  plain: {listen: "unix:{{DIR}}/plain"}
  store: {directory: "{{DIR}}/store", access: read-write}
  db:    {connect: "unix:BESIDE/db"}
  tcp:   {connect: "tcp:ADDRESS"}
components:
  web:   {command: [{{PROGRAM}}, program, obey], grants: [web, store, db], may-start: [upper], restart: always}
  plain: {command: [{{PROGRAM}}, program, obey], grants: [plain, store, tcp], transparent: true, restart: always}
  upper: {command: [{{BUSYBOX}}, tr, a-z, A-Z], start: per-request}
  other: {command: [{{BUSYBOX}}, sleep, "1000"], environment: {TURN: "0"}, restart: always, restart-delay: 1ms, restart-delay-maximum: 1ms}
supervision: {restarts: 1000, within: 10s}
`

// step is something that the monitor is asked for at work.
type step struct {
	name string
	do   func(*Application) string // and what came of it
	want string                    // if no call fails
	of   []Role                    // whose calls it takes
}

var (
	monitors    = []Role{Monitor}
	supervisors = []Role{Supervisor}
	both        = []Role{Monitor, Supervisor}
)

var steps = []step{
	{"a worker", told("web", "start upper some words"), `exited with status 0; limit "", wrote "SOME WORDS"`, monitors},
	{"a file on request", told("web", "write store new wct text"), "ok", monitors},
	{"a connection on request", told("web", "connect db"), `"served\n"`, monitors},
	{"transparent files", func(a *Application) string {
		var all []string
		for _, line := range []string{"open +/made write,create 644", "rename +/made +/named", "stat +/named", "list +", "unlink +/named"} {
			answer := told("plain", "file "+strings.ReplaceAll(line, "+", a.Dir+"/store"))(a)
			if strings.HasPrefix(line, "stat") || strings.HasPrefix(line, "list") {
				answer, _, _ = strings.Cut(answer, " ")
			}
			all = append(all, answer)
		}
		return strings.Join(all, ", ")
	}, "file, ok, 0100600, named, ok", monitors},
	{"a transparent connection", func(a *Application) string {
		return told("plain", "dial tcp "+address(a))(a)
	}, `"served\n"`, monitors},
	{"a restart", func(a *Application) string { return a.renewed(Program, "other") }, "renewed", both},
	{"a compartment built again", func(a *Application) string { return a.renewed(CompartmentInit, "other") }, "renewed", both},
	{"status", func(a *Application) string { return a.asked("status", a.Name) }, "done", supervisors},
	{"a policy in the place of another", func(a *Application) string {
		text, err := os.ReadFile(a.Policy)
		if err != nil {
			return err.Error()
		}
		_, rest, _ := strings.Cut(string(text), `TURN: "`)
		turn, _, _ := strings.Cut(rest, `"`)
		n, _ := strconv.Atoi(turn)
		a.File("policy.yaml", strings.Replace(string(text), `TURN: "`+turn, `TURN: "`+itoa(n+1), 1))
		return a.asked("reload", a.Policy)
	}, "done", both},
}

// address is what working grants a connection to.
func address(a *Application) string {
	text, _ := os.ReadFile(a.Policy)
	_, rest, _ := strings.Cut(string(text), `"tcp:`)
	address, _, _ := strings.Cut(rest, `"`)
	return address
}

// told tells a component something by its door.
func told(component, line string) func(*Application) string {
	return func(a *Application) string {
		c, err := net.DialTimeout("unix", a.Dir+"/"+component, *patience)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(*patience))
		if _, err := io.WriteString(c, line); err != nil {
			return err.Error()
		}
		answer, err := io.ReadAll(c)
		if err != nil {
			return err.Error()
		}
		return string(answer)
	}
}

// renewed kills a process, of component other or of the broker, and waits for the
// next.
func (a *Application) renewed(role Role, component string) string {
	old := a.Of(role, component)
	if len(old) != 1 || old[0].Kill(unix.SIGKILL) != nil {
		return "there is none"
	}
	for end := time.Now().Add(*patience); time.Now().Before(end) && a.running(); time.Sleep(2 * time.Millisecond) {
		if now := a.Of(role, component); len(now) == 1 && now[0].Pid != old[0].Pid && len(a.Of(Program, "other")) == 1 {
			return "renewed"
		}
	}
	return "it does not come again"
}

// hung begins what came of a command that did not end.
const hung = "it hung: "

// asked runs another command of ours, which must end.
func (a *Application) asked(arguments ...string) string {
	command := exec.Command(a.site.Sandbox, arguments...)
	patient := time.AfterFunc(*patience, func() { command.Process.Kill() })
	out, err := command.CombinedOutput()
	if !patient.Stop() {
		return hung + string(out)
	}
	if err != nil {
		return string(out)
	}
	return "done"
}

// tracer is a conversation with the injector.
type tracer struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

// traced lets calls of a process fail, by another process: this one waits for
// its children.
func (a *Application) traced(pid int) *tracer { return a.inject(itoa(pid)) }

// followed lets calls fail of what is written in C, in the processes that are
// given as PID or PID=ROLE and in all that come of them.
func (a *Application) followed(processes ...string) *tracer {
	return a.inject(append([]string{"-follow", a.site.Libexec}, processes...)...)
}

func (a *Application) inject(arguments ...string) *tracer {
	a.t.Helper()
	tr := &tracer{t: a.t, command: exec.Command(a.site.Program, append([]string{"injector"}, arguments...)...)}
	in, err := tr.command.StdinPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := tr.command.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	tr.command.Stderr = os.Stderr
	if err := tr.command.Start(); err != nil {
		a.t.Fatal(err)
	}
	tr.in, tr.out = in, bufio.NewScanner(out)
	if answer := tr.next(); answer != "traced" {
		a.t.Fatalf("the injector says %q", answer)
	}
	return tr
}

func (tr *tracer) next() string {
	if !tr.out.Scan() {
		return "" // what was traced has ended
	}
	return tr.out.Text()
}

func (tr *tracer) say(format string, arguments ...any) string {
	fmt.Fprintf(tr.in, format+"\n", arguments...) // one that has ended has said what it had to say
	return tr.next()
}

// last are the calls that were made until what is traced ended, after "tell".
func (tr *tracer) last() map[string]int {
	defer tr.end()
	return counted(tr.next())
}

func (tr *tracer) end() {
	tr.in.Close()
	tr.command.Wait()
}

// calls are those that were made since the tracer was told to count, and that
// can be made fail.
func (tr *tracer) calls() map[string]int { return counted(tr.say("counts")) }

func counted(text string) map[string]int {
	all := map[string]int{}
	for word := range strings.FieldsSeq(text) {
		key, n, _ := strings.Cut(word, "=")
		if injector.ErrorsOf(key) != nil {
			all[key], _ = strconv.Atoi(n)
		}
	}
	return all
}

// workingSite makes what working grants. Its servers stand beside the
// application's directory, where nothing of theirs is looked for at the end.
func workingSite(t *testing.T, a *Application) {
	t.Helper()
	if err := os.Mkdir(a.Dir+"/store", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.Dir+"/store", 0o777); err != nil {
		t.Fatal(err)
	}
	beside, err := makeDirectory("e2e-beside-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(beside) })
	served := func(net.Addr, []byte) string { return "served\n" }
	serve(t, "unix", beside+"/db", served)
	tcp := serve(t, "tcp", "127.0.0.1:0", served).Addr().String()
	a.Write(strings.NewReplacer("BESIDE", beside, "ADDRESS", tcp).Replace(working))
}

// failing is a run of an application in which calls of one process fail.
type failing struct {
	*Application
	role   Role
	tracer *tracer
	open   int // descriptors that the process holds when nothing has failed yet
}

// begin starts the application and sees a step work.
func (f *failing) begin(s step) {
	f.t.Helper()
	f.Run().Ready()
	f.eventually("the step works when nothing fails", func() bool { return s.do(f.Application) == s.want })
	f.tracer = f.traced(f.pid())
	f.open = len(held(f.pid()))
}

func (f *failing) pid() int {
	if f.role == Monitor {
		return f.Pid()
	}
	return f.Of(f.role, "")[0].Pid
}

// fail lets the n-th call fail in a step, and says whether there was one. The
// next step works, or the application has ended and said why; then it is
// started again.
func (f *failing) fail(s step, key string, n int) bool {
	f.t.Helper()
	r := f.failIn(s, f.tracer, failure{key, n, injector.Errors[key]})
	if r.ended {
		f.tracer.end()
		f.begin(s)
		return true
	}
	if line := saidTwice(r.said); line != "" {
		f.t.Errorf("%s: it said one thing twice: %s", r.what, line)
	}
	return r.hit != ""
}

// result is what came of a step in which a call failed.
type result struct {
	got   string // what the step said
	hit   string // the call that failed, "" where there was none
	what  string // all that, for a person
	said  string // by the broker
	ended bool   // by itself, and it said why
}

// failIn has a step done in which a call fails, and expects that it has an end, and
// that the next one works or the application has ended and said why.
func (a *Application) failIn(s step, tracer *tracer, c failure) (r result) {
	a.t.Helper()
	mark := len(a.Err.String())
	tracer.say("fail %s %d %d", c.key, c.n, c.errno)
	r.got = s.do(a)
	r.hit = tracer.say("hit")
	r.what = fmt.Sprintf("%s: %s: %s", c, r.hit, r.got)
	if strings.Contains(r.got, hung) || strings.Contains(r.got, os.ErrDeadlineExceeded.Error()) {
		a.t.Errorf("%s: it has no end", r.what)
	}
	for end := time.Now().Add(*patience); a.running() && s.do(a) != s.want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Errorf("%s: then the step does not work any more: %s; it said:\n%s", r.what, s.do(a), a.Err.String()[mark:])
			a.Signal(unix.SIGKILL)
			a.Wait()
		}
	}
	r.said, r.ended = a.Err.String()[mark:], !a.running()
	if r.ended {
		a.t.Logf("%s: it ended:\n%s", r.what, r.said)
		a.saysWhy(r.what)
	} else {
		a.t.Log(r.what)
	}
	return r
}

// saysWhy expects of an application that has ended, without being asked to, that
// it has said why, and that nothing is left of it.
func (a *Application) saysWhy(what string) {
	a.t.Helper()
	status := a.Wait()
	said := a.Err.String()
	if status == 0 || !strings.Contains(said, "sandbox: ") || strings.Contains(said, "panic: ") || saidTwice(said) != "" {
		a.t.Errorf("%s: it ended with status %d and said:\n%s", what, status, said)
	}
	a.ExpectNothingLeft(*patience)
}

// most is of how many of the same calls in a step each fails.
func most() int {
	if *injectAll {
		return 3
	}
	return 1
}

// A system call of the monitor's, or of the supervisor's, fails at each step of
// its work: the step fails in a bounded time, or does not, and the next goes on
// as ever; or the application ends and says why. Nothing is left, and the next
// start works.
func TestFailingCallsAtWork(t *testing.T) {
	for _, s := range steps {
		for _, role := range s.of {
			t.Run(s.name+", "+string(role), func(t *testing.T) {
				f := &failing{Application: New(t, "at-work"), role: role}
				workingSite(t, f.Application)
				f.begin(s)
				defer func() { f.tracer.end() }()
				f.tracer.say("count")
				if got := s.do(f.Application); got != s.want {
					t.Fatalf("without any failure: %s", got)
				}
				calls := f.tracer.calls()
				t.Logf("the calls in it: %v", calls)
				hits := 0
				for _, key := range slices.Sorted(maps.Keys(calls)) {
					for n := 1; n <= min(most(), calls[key]); n++ {
						if f.fail(s, key, n) {
							hits++
						}
					}
				}
				if hits == 0 || hits < len(calls)/2 {
					t.Errorf("%d calls failed, of %d: this tests nothing", hits, len(calls))
				}
				f.eventually("the "+string(role)+" holds no more descriptors than before", func() bool {
					return len(held(f.pid())) <= f.open+descriptorSlack
				})
				if status := f.Stop(); status != 0 {
					t.Errorf("it stopped with status %d", status)
				}
			})
		}
	}
}

// A path that the monitor has not the memory to read is nobody's: what the program
// hears is why, and not what the compartment would have said of the path.
func TestPathThatCannotBeRead(t *testing.T) {
	f := &failing{Application: New(t, "unread"), role: Monitor}
	workingSite(t, f.Application)
	f.begin(steps[3])
	defer func() { f.tracer.end() }()
	for _, line := range []string{"open +/made write,create 644", "stat +/made", "rename +/made +/named", "unlink +/made"} {
		line = "file " + strings.ReplaceAll(line, "+", f.Dir+"/store")
		f.tracer.say("fail process_vm_readv 1 %d", unix.ENOMEM)
		if got := told("plain", line)(f.Application); got != "ENOMEM" {
			t.Errorf("%s: %s (%s)", line, got, f.tracer.say("hit"))
		}
	}
	if status := f.Stop(); status != 0 {
		t.Errorf("it stopped with status %d", status)
	}
}

// The same while the application stops: it ends in time, leaves nothing, and has
// no other status without a reason.
func TestFailingCallsAtStop(t *testing.T) {
	for _, role := range both {
		t.Run(string(role), func(t *testing.T) {
			a := New(t, "at-stop").Write(small)
			stop := func(prepare func(*tracer)) (*tracer, int) {
				a.Run().Ready()
				tr := a.traced(a.Of(role, "")[0].Pid)
				prepare(tr)
				a.Signal(unix.SIGTERM)
				status := a.Wait()
				a.ExpectNothingLeft(*patience)
				return tr, status
			}
			tr, status := stop(func(tr *tracer) { tr.say("tell") })
			calls := tr.last()
			if status != 0 || len(calls) < 3 {
				t.Fatalf("status %d, and these calls: %v", status, calls)
			}
			t.Logf("the calls in it: %v", calls)
			for _, key := range slices.Sorted(maps.Keys(calls)) {
				for n := 1; n <= min(most(), calls[key]); n++ {
					what := fmt.Sprintf("%s %d, %s", key, n, unix.ErrnoName(injector.Errors[key]))
					tr, status := stop(func(tr *tracer) { tr.say("fail %s %d %d", key, n, injector.Errors[key]) })
					tr.end()
					t.Logf("%s: status %d", what, status)
					if status != 0 {
						t.Logf("it said:\n%s", a.Err)
						a.saysWhy(what)
					}
				}
			}
			a.nextStartWorks()
		})
	}
}
