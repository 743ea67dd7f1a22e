package life

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulkhead/test/transcript"

	"golang.org/x/sys/unix"
)

// Service is a service directory of runit or s6 whose service is an application,
// as docs/supervision.md has it.
type Service struct {
	*Application
	t       *testing.T
	dir     string
	program string // that supervises
	command *exec.Cmd
	manager *transcript.Transcript // what it and the application say
}

const servicePolicy = `application: {{NAME}}
components:
  slow: { ready: {fd: 3}, {{SH}} "sleep 0.3; echo >&3; exec sleep 1000"] }
  web: { {{SH}} "echo web; exec sleep 1001"] }
`

// NewService makes a service directory with a policy and some scripts, in which
// {{FILE}} is the policy's.
func NewService(t *testing.T, name, program, policy string, scripts map[string]string) *Service {
	t.Helper()
	a := New(t, name)
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("needs the packages of test/life/packages.txt: %v", err)
	}
	s := &Service{Application: a, t: t, program: program, dir: filepath.Join(a.Dir, "service"), manager: &transcript.Transcript{}}
	bin, err := filepath.Abs(*binDirectory)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{{FILE}}", a.Policy(policy), "{{NAME}}", a.Name, "{{DIR}}", a.Dir, "exec sandbox ", "exec "+bin+"/sandbox ", "\nsandbox ", "\n"+bin+"/sandbox ")
	for name, text := range scripts {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.end()
		if t.Failed() {
			t.Logf("%s said:\n%s", program, s.manager)
		}
	})
	return s
}

// supervise starts the manager.
func (s *Service) supervise() {
	s.t.Helper()
	s.command = exec.Command(s.program, s.dir)
	s.command.Stdout, s.command.Stderr = s.manager, s.manager
	s.command.WaitDelay = time.Second
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// listens waits until s6-supervise listens and has written its first state: who
// waits for a change of that (s6-svwait) gives up where there is none.
func (s *Service) listens() {
	s.t.Helper()
	s.Until("s6-supervise listens", func() bool {
		return exec.Command("s6-svok", s.dir).Run() == nil && exec.Command("s6-svstat", s.dir).Run() == nil
	})
}

// end ends the manager first, then what it started.
func (s *Service) end() {
	if s.command != nil {
		s.command.Process.Kill()
		s.command.Wait()
	}
	if pid := s.broker(); pid != 0 {
		unix.Kill(pid, unix.SIGTERM)
		s.Until("the application ends", func() bool { return s.broker() == 0 })
	}
}

// broker is the process of the application's broker, 0 without one.
func (s *Service) broker() int {
	b, err := os.ReadFile("/run/sandbox/" + s.Name + "/pid")
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	if unix.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// say runs one of the manager's commands.
func (s *Service) say(line ...string) string {
	s.t.Helper()
	b, err := exec.Command(line[0], append(line[1:], s.dir)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, b)
	}
	return string(b)
}

// webs are the processes of the component web, of whichever instance.
func (s *Service) webs() []string {
	var all []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		at := filepath.Dir(file)
		line, _ := os.ReadFile(at + "/cmdline")
		groups, _ := os.ReadFile(at + "/cgroup")
		if string(line) == "sleep\x001001\x00" && strings.Contains(string(groups), "/sandbox/"+s.Name+"/") {
			all = append(all, filepath.Base(at))
		}
	}
	return all
}

func (s *Service) expectOneWeb() string {
	s.t.Helper()
	s.Until("web runs", func() bool { return len(s.webs()) > 0 })
	all := s.webs()
	if len(all) != 1 {
		s.t.Fatalf("web runs %d times: %v", len(all), all)
	}
	return all[0]
}

// finished waits until the script finish has been called with arguments.
func (s *Service) finished(arguments string) {
	s.t.Helper()
	s.Until("finish "+arguments, func() bool { return strings.HasSuffix(s.Read("finished"), arguments+"\n") })
}

// newBroker waits for another broker than before.
func (s *Service) newBroker(before int) int {
	s.t.Helper()
	s.Until("another broker", func() bool { now := s.broker(); return now != 0 && now != before })
	return s.broker()
}

// orphaned: the manager is killed, the application goes on, and a second manager
// starts no second one; it takes over when the first has ended.
func (s *Service) orphaned() {
	s.t.Helper()
	before, web := s.broker(), s.expectOneWeb()
	s.command.Process.Kill()
	s.command.Wait()
	if now := s.broker(); now != before {
		s.t.Errorf("the broker was %d and is %d", before, now)
	}
	s.supervise()
	s.Until("the second is refused", func() bool { return strings.Contains(s.manager.String(), "runs already") })
	if now := s.expectOneWeb(); now != web || s.broker() != before {
		s.t.Errorf("web was %s and is %s", web, now)
	}
	unix.Kill(before, unix.SIGTERM)
	s.newBroker(before)
	if now := s.expectOneWeb(); now == web {
		s.t.Error("the first web runs still")
	}
}

// milliseconds is Patience as the commands of s6 take it.
func milliseconds() string { return strconv.FormatInt(Patience.Milliseconds(), 10) }

const finishScript = "#!/bin/sh\necho \"$1 $2\" >>{{DIR}}/finished\n"

// TestRunit: an application below runsv.
func TestRunit(t *testing.T) {
	s := NewService(t, "runit", "runsv", servicePolicy, map[string]string{
		"run":       "#!/bin/sh\nexec 2>&1\nexec sandbox run {{FILE}}\n",
		"finish":    finishScript,
		"check":     "#!/bin/sh\nsandbox status {{NAME}} 2>/dev/null | grep -q '^{{NAME}}: running'\n",
		"control/h": "#!/bin/sh\nexec sandbox reload {{FILE}}\n",
	})
	s.supervise()
	s.Until("runsv listens", func() bool { _, err := os.Stat(s.dir + "/supervise/ok"); return err == nil })
	sv := []string{"sv", "-w", strconv.Itoa(int(Patience.Seconds()))}
	if text := s.say(append(sv, "start")...); !strings.HasPrefix(text, "ok: run: ") {
		t.Errorf("sv start says %q", text)
	}
	if text := s.Sandbox("status", s.Name); !strings.Contains(text, "up after") { // slow, too
		t.Errorf("sv says that it is up, and the status is\n%s", text)
	}
	broker, web := s.broker(), s.expectOneWeb()

	s.Policy(servicePolicy + `  third: { {{SH}} "exec sleep 1002"] }` + "\n")
	s.say("sv", "hup")
	s.Until("the reload", func() bool { return strings.Contains(s.Sandbox("status", s.Name), "third") })
	if s.broker() != broker || s.expectOneWeb() != web {
		t.Error("after sv hup another broker or another web runs")
	}

	s.say("sv", "term")
	s.finished("0 0")
	broker = s.newBroker(broker)
	s.expectOneWeb()
	unix.Kill(broker, unix.SIGKILL)
	s.finished("-1 9")
	s.newBroker(broker)
	s.orphaned()
	if text := s.say(append(sv, "stop")...); !strings.HasPrefix(text, "ok: down: ") {
		t.Errorf("sv stop says %q", text)
	}
	if s.broker() != 0 || len(s.webs()) != 0 {
		t.Error("down, it runs still")
	}
	s.say(append(sv, "exit")...)
	s.command.Wait()
}

// TestS6: an application below s6-supervise, ready by its notification-fd.
func TestS6(t *testing.T) {
	s := NewService(t, "s6", "s6-supervise", servicePolicy, map[string]string{
		"run":             "#!/bin/sh\nexec 2>&1\nexec sandbox run --ready-fd 3 {{FILE}}\n",
		"notification-fd": "3\n",
		"finish":          finishScript,
	})
	s.supervise()
	s.listens()
	s.say("s6-svc", "-uwU", "-T", milliseconds())
	if text := s.Sandbox("status", s.Name); !strings.Contains(text, "up after") { // slow, too
		t.Errorf("s6 says that it is ready, and the status is\n%s", text)
	}
	if text := s.say("s6-svstat", "-o", "up,ready"); text != "true true\n" {
		t.Errorf("s6-svstat says %q", text)
	}
	broker := s.broker()
	for _, signal := range []string{"-t", "-h"} { // SIGHUP is that of a terminal that goes
		s.say("s6-svc", signal)
		s.finished("0 0")
		s.Remove("finished")
		broker = s.newBroker(broker)
		s.say("s6-svwait", "-U", "-t", milliseconds())
		s.expectOneWeb()
	}
	unix.Kill(broker, unix.SIGKILL)
	s.finished("256 9")
	s.newBroker(broker)
	s.orphaned()
	s.say("s6-svc", "-dwD", "-T", milliseconds())
	if s.broker() != 0 || len(s.webs()) != 0 {
		t.Error("down, it runs still")
	}
	s.say("s6-svc", "-x")
	s.command.Wait()
}

// TestFinishCode: the managers' finish gets the status of the component that
// failed.
func TestFinishCode(t *testing.T) {
	const policy = "application: {{NAME}}\ncomponents:\n  one: { restart: never, {{SH}} \"exit 7\"] }\n"
	scripts := map[string]string{"run": "#!/bin/sh\nexec 2>&1\nexec sandbox run {{FILE}}\n", "finish": finishScript, "down": ""}
	t.Run("runit", func(t *testing.T) {
		s := NewService(t, "code-runit", "runsv", policy, scripts)
		s.supervise()
		s.Until("runsv listens", func() bool { _, err := os.Stat(s.dir + "/supervise/ok"); return err == nil })
		s.say("sv", "once")
		s.finished("7 0")
	})
	t.Run("s6", func(t *testing.T) {
		s := NewService(t, "code-s6", "s6-supervise", policy, scripts)
		s.supervise()
		s.listens()
		s.say("s6-svc", "-o")
		s.finished("7 0")
	})
}

// TestServiceScript: a service of s6, that notifies on descriptor 3, is a
// component as it is; its script runs below s6-supervise and in a compartment.
func TestServiceScript(t *testing.T) {
	s := NewService(t, "script", "s6-supervise", `application: {{NAME}}
components:
  service:
    command: ["{{DIR}}/service/run"]
    files: {execute: [/bin/busybox, "{{DIR}}/service/run"]}
    ready: {fd: 3}
  next: { after: service, {{SH}} "echo after the service; exec sleep 1000"] }
`, map[string]string{
		"run":             "#!/bin/busybox sh\nsleep 0.3\necho serving\necho >&3\nexec sleep 1000\n",
		"notification-fd": "3\n",
	})
	s.supervise()
	s.listens()
	s.say("s6-svwait", "-U", "-t", milliseconds())
	s.say("s6-svc", "-dxwD", "-T", milliseconds())
	s.command.Wait()

	s.Start(nil, "run", filepath.Join(s.Dir, "policy.yaml"))
	s.Expect("| serving")
	s.Expect("| after the service")
	_, after, _ := strings.Cut(s.Said.String(), "component service: ready after ")
	text, _, _ := strings.Cut(after, " ")
	if took, err := time.ParseDuration(text); err != nil || took < 300*time.Millisecond {
		t.Errorf("it was ready before it said so: after %q", text)
	}
}
