package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/test/e2e/injector"
)

// failure is one call, and what it fails with.
type failure struct {
	key   string // CALL, or ROLE/CALL of a process in C
	n     int    // the n-th of these
	errno unix.Errno
}

func (f failure) String() string {
	return fmt.Sprintf("%s %d, %s", f.key, f.n, unix.ErrnoName(f.errno))
}

func (f failure) role() string { role, _, _ := strings.Cut(f.key, "/"); return role }

// failures are those of some calls: each of the first few, with all that it can
// fail with, and without -inject so many of each role as -seed chooses.
func failures(t *testing.T, calls map[string]int, each int) []failure {
	t.Helper()
	byRole := map[string][]failure{}
	for _, key := range slices.Sorted(maps.Keys(calls)) {
		for n := 1; n <= min(3, calls[key]); n++ {
			for _, errno := range injector.ErrorsOf(key) {
				f := failure{key, n, errno}
				byRole[f.role()] = append(byRole[f.role()], f)
			}
		}
	}
	random := rand.New(rand.NewPCG(*faultSeed, 0))
	var all []failure
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		of := byRole[role]
		if !*injectAll && len(of) > each {
			random.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
			t.Logf("%s: %d of %d failures, by -seed %d; -inject has all", role, each, len(of), *faultSeed)
			of = of[:each]
		}
		all = append(all, of...)
	}
	return all
}

// heldBack starts the application when the tracer, which follows it, is prepared.
func (a *Application) heldBack(prepare func(*tracer)) *tracer {
	a.t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		a.t.Fatal(err)
	}
	a.command = exec.Command("sh", "-c", `read go <&3; exec 3<&-; exec "$@"`, "sh", a.site.Sandbox, "run", a.Policy)
	a.command.ExtraFiles = []*os.File{reader}
	a.start()
	reader.Close()
	defer writer.Close()
	tr := a.followed(itoa(a.Pid()))
	prepare(tr)
	writer.WriteString("\n")
	return tr
}

// saidTwice is a line that says one thing twice, one behind the other.
func saidTwice(said string) string {
	for line := range strings.Lines(said) {
		parts := strings.Split(strings.TrimSpace(line), ": ")
		if len(slices.Compact(slices.Clone(parts))) < len(parts) {
			return line
		}
	}
	return ""
}

// texts are what is said of an errno: by programs in Go, to a program that asked, and
// by programs in C.
func texts(errno unix.Errno) []string {
	inC := map[unix.Errno]string{
		unix.ENOMEM: "Out of memory", unix.EMFILE: "No file descriptors available", unix.EIO: "I/O error", unix.EDQUOT: "Quota exceeded",
		unix.ENFILE: "Too many open files in system",
	}
	all := []string{errno.Error(), unix.ErrnoName(errno)}
	if text := inC[errno]; text != "" {
		all = append(all, text)
	}
	return all
}

// names says whether a text tells of an errno, once.
func names(said string, errno unix.Errno) bool {
	return slices.ContainsFunc(texts(errno), func(text string) bool {
		return strings.Contains(strings.ToLower(said), strings.ToLower(text))
	})
}

// A system call of the keeper, the sweeper, an init of a compartment or of a worker
// fails at the start: the start fails and says so, or does without; it ends,
// leaves nothing, and the next start works.
func TestFailingCallsInCAtStart(t *testing.T) {
	a := New(t, "c-start").Write(small)
	tr := a.heldBack(func(tr *tracer) { tr.say("count") })
	a.Ready()
	calls := tr.calls()
	tr.end()
	if status := a.Stop(); status != 0 {
		t.Fatalf("without any failure it ends with status %d", status)
	}
	t.Logf("the calls in it: %v", calls)
	hits := map[string]int{}
	all := failures(t, calls, 8)
	for _, f := range all {
		tr := a.heldBack(func(tr *tracer) { tr.say("fail %s %d %d", f.key, f.n, f.errno) })
		a.failsOrStops()
		said := a.Err.String()
		hit := tr.say("hit")
		tr.end()
		if hit != "" {
			hits[f.role()]++
		}
		t.Logf("%s: %s: status %d", f, hit, a.status)
		if !strings.Contains(said, "up after") && hit != "" && !names(said, f.errno) || saidTwice(said) != "" {
			t.Errorf("%s: status %d, and it said:\n%s", f, a.status, said)
		}
	}
	for _, role := range []string{"init.door", "init.supervisor", "worker.door", "worker.supervisor", "process.door", "process.supervisor", "keeper", "sweeper"} {
		if hits[role] == 0 {
			t.Errorf("no call of %s failed: this tests nothing", role)
		}
	}
	a.nextStartWorks()
}

// inC is an application that does what the programs in C are for.
const inC = `
application: {{NAME}}
grants:
  web: {listen: "unix:{{DIR}}/web"}
components:
  web:    {command: [{{PROGRAM}}, program, obey], grants: [web], may-start: [upper, quick, helper], files: {read: ["{{DIR}}/helper"]}, restart: always, limits: {processes: 64}}
  upper:  {command: [{{BUSYBOX}}, tr, a-z, A-Z], start: per-request}
  quick:  {command: [{{BUSYBOX}}, tr, a-z, A-Z], start: per-request, workers: {ready-ahead: 1}, files: {proc: full}}
  helper: {start: on-exec, replaces: "{{DIR}}/helper"}
  other:  {command: [{{BUSYBOX}}, sleep, "1000"], environment: {TURN: "0"}, restart: always, restart-delay: 1ms, restart-delay-maximum: 1ms}
supervision: {restarts: 10000, within: 10s}
`

// following is a run of an application in which calls of its programs in C fail.
type following struct {
	*Application
	whom   func(*Application) []string // as followed has it
	tracer *tracer
	now    string // who is followed
}

// pidsOf are the processes of a role of one component.
func pidsOf(role Role, component string) func(*Application) []string {
	return func(a *Application) []string {
		var all []string
		for _, p := range a.Of(role, component) {
			name := string(role)
			if role == CompartmentInit {
				name = "init." + component
			}
			all = append(all, itoa(p.Pid)+"="+name)
		}
		return all
	}
}

// follow makes sure that those are followed who are there now.
func (f *following) follow() {
	f.t.Helper()
	var now []string
	f.eventually("whom to follow is there", func() bool { now = f.whom(f.Application); return len(now) > 0 })
	if f.tracer != nil && f.now == strings.Join(now, " ") {
		return
	}
	f.let()
	f.tracer, f.now = f.followed(now...), strings.Join(now, " ")
}

func (f *following) let() {
	if f.tracer != nil {
		f.tracer.end()
		f.tracer = nil
	}
}

func (f *following) begin(s step) {
	f.t.Helper()
	f.Run().Ready()
	f.eventually("the step works when nothing fails", func() bool { return s.do(f.Application) == s.want })
}

// fail lets a call fail in a step, and says whether there was one. The step says
// what failed, or works; the next one works, or the application has ended and said
// why.
func (f *following) fail(s step, c failure) bool {
	f.t.Helper()
	f.follow()
	r := f.failIn(s, f.tracer, c)
	if r.ended {
		f.let()
		f.begin(s)
		return true
	}
	if r.hit != "" && r.got != s.want && !names(r.got+r.said, c.errno) || saidTwice(r.said) != "" {
		f.t.Errorf("%s: it said:\n%s", r.what, r.said)
	}
	return r.hit != ""
}

// A system call of a program in C fails at work.
func TestFailingCallsInCAtWork(t *testing.T) {
	for _, s := range []struct {
		step
		whom func(*Application) []string
		each int // role, without -inject
	}{
		{steps[0], pidsOf(CompartmentInit, "upper"), 40},
		// The second is the one that the first one's start has prepared.
		{step{name: "a worker prepared ahead", do: func(a *Application) string {
			return told("web", "start quick some words")(a) + told("web", "start quick some words")(a)
		}, want: steps[0].want + steps[0].want}, pidsOf(CompartmentInit, "quick"), 8},
		{step{name: "an exec", do: func(a *Application) string { return told("web", "execute "+a.Dir+"/helper words")(a) },
			want: `exit status 7, wrote "given words\n"`}, func(a *Application) []string {
			caller := a.Of(Program, "web")
			if len(caller) == 0 {
				return nil
			}
			return append(pidsOf(CompartmentInit, "helper")(a), itoa(caller[0].Pid))
		}, 15},
		{step{name: "a compartment built again", do: func(a *Application) string { return a.renewed(CompartmentInit, "other") }, want: "renewed"},
			pidsOf(Keeper, ""), 4},
		{step{name: "a policy in the place of another", do: steps[8].do, want: "done"}, pidsOf(Keeper, ""), 4},
		{step{name: "another sweeper", do: func(a *Application) string { return a.renewed(Sweeper, "") }, want: "renewed"}, pidsOf(Keeper, ""), 3},
	} {
		t.Run(s.name, func(t *testing.T) {
			a := New(t, "c-work")
			a.script("helper", "echo given \"$1\"\nexit 7\n")
			a.Write(inC)
			f := &following{Application: a, whom: s.whom}
			f.begin(s.step)
			defer f.let()
			f.follow()
			f.tracer.say("count")
			if got := s.do(a); got != s.want {
				t.Fatalf("without any failure: %s", got)
			}
			calls := f.tracer.calls()
			t.Logf("the calls in it: %v", calls)
			open := len(descriptors(a.Of(Keeper, "")[0].Pid))
			hits := 0
			all := failures(t, calls, s.each)
			for _, c := range all {
				if f.fail(s.step, c) {
					hits++
				}
			}
			if hits < len(all)/2 || hits == 0 {
				t.Errorf("%d calls failed, of %d: this tests nothing", hits, len(all))
			}
			f.let()
			// It hears what became of a plan when everybody else has.
			f.eventually("the keeper holds no more descriptors than before", func() bool {
				return len(descriptors(a.Of(Keeper, "")[0].Pid)) <= open
			})
			if status := a.Stop(); status != 0 {
				t.Errorf("it stopped with status %d", status)
			}
		})
	}
}

// The same while the application stops: it ends in time and leaves nothing.
func TestFailingCallsInCAtStop(t *testing.T) {
	a := New(t, "c-stop").Write(small)
	stop := func(prepare func(*tracer)) (*tracer, int) {
		a.Run().Ready()
		var all []string
		for _, p := range a.Processes() {
			switch p.Role {
			case CompartmentInit:
				all = append(all, itoa(p.Pid)+"=init."+p.Component)
			case WorkerInit:
				all = append(all, itoa(p.Pid)+"=worker."+p.Component)
			case Keeper, Sweeper:
				all = append(all, itoa(p.Pid)+"="+string(p.Role))
			}
		}
		tr := a.followed(all...)
		prepare(tr)
		a.Signal(unix.SIGTERM)
		status := a.Wait()
		a.ExpectNothingLeft(*patience)
		return tr, status
	}
	tr, status := stop(func(tr *tracer) { tr.say("tell") })
	calls := tr.last()
	if status != 0 || len(calls) < 6 {
		t.Fatalf("status %d, and these calls: %v", status, calls)
	}
	t.Logf("the calls in it: %v", calls)
	for _, f := range failures(t, calls, 8) {
		tr, status := stop(func(tr *tracer) { tr.say("fail %s %d %d", f.key, f.n, f.errno) })
		tr.end()
		t.Logf("%s: status %d", f, status)
		if status != 0 || saidTwice(a.Err.String()) != "" {
			t.Errorf("%s: status %d, and it said:\n%s", f, status, a.Err)
		}
	}
	a.nextStartWorks()
}
