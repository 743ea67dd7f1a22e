package learn

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatAPolicyLacks: learn FILE shows it, --append writes it beside what is
// there, and then nothing is lacking.
func TestWhatAPolicyLacks(t *testing.T) {
	x := begin(t, "coreutils")
	x.file("one", "1\n")
	x.file("two", "2\n")
	text := "application: " + x.name + "\n# A comment of its author's.\ncomponents:\n  cat:\n    command: [/usr/bin/cat, " + x.directory + "/one, " + x.directory + "/two]\n" +
		"    files: {read: [" + x.directory + "/one]}\n    output: inherit\n    restart: never\n"
	if err := os.WriteFile(x.policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	dropIn := filepath.Join(filepath.Dir(x.policy), "policy.d", "80-learnt-"+x.name+".yaml")

	shown := x.start("", "learn", x.policy)
	shown.wait(0)
	if out := shown.stdout.String(); !strings.Contains(out, "+++ "+dropIn) || !strings.Contains(out, "+        - "+x.directory+"/two ") || strings.Contains(out, "- "+x.directory+"/one") {
		t.Errorf("it shows\n%s", out)
	}
	if _, err := os.Stat(dropIn); err == nil {
		t.Error("what was only to be shown is written")
	}
	x.start("", "learn", "--append", x.policy).wait(0)
	if now, err := os.ReadFile(x.policy); err != nil || string(now) != text {
		t.Errorf("the policy itself has changed: %v\n%s", err, now)
	}
	if out := x.run("", nil); out != "1\n2\n" {
		t.Errorf("it printed %q", out)
	}
	again := x.start("", "learn", "--append", x.policy)
	again.wait(0)
	if !strings.Contains(again.stderr.String(), "allows all that was seen") {
		t.Errorf("it still lacks something:\n%s%s", again.stdout.String(), again.stderr.String())
	}
	if found, _ := filepath.Glob(filepath.Dir(dropIn) + "/*"); len(found) != 1 {
		t.Errorf("the drop-ins are %v", found)
	}
}

// TestWhatThePolicyDeniesIsDenied: also while the program is observed.
func TestWhatThePolicyDeniesIsDenied(t *testing.T) {
	x := begin(t, "coreutils")
	text := "application: " + x.name + "\ncomponents:\n  mkdir:\n    command: [/usr/bin/mkdir, " + x.directory + "/new]\n    user: root\n" +
		"    files: {write: [" + x.directory + "]}\n    syscalls: [{deny: [mkdir, mkdirat]}]\n    output: inherit\n    restart: never\n"
	if err := os.WriteFile(x.policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := x.start("", "learn", x.policy)
	p.wait(0)
	if _, err := os.Stat(filepath.Join(x.directory, "new")); err == nil {
		t.Error("what the policy denies was done")
	}
	if out := p.stdout.String(); strings.Contains(out, "mkdir\n") {
		t.Errorf("what is denied is proposed:\n%s", out)
	}
	if !strings.Contains(p.stderr.String(), "failed with exit status 1") {
		t.Errorf("the failure is not said: %s", p.stderr.String())
	}
}

// TestInterruptedAndFailed: the policy is printed all the same.
func TestInterruptedAndFailed(t *testing.T) {
	x := begin(t, "coreutils")
	p := x.start("", "learn", "--", "/bin/sh", "-c", "echo begun; sleep 1000")
	p.await(func() error {
		if !strings.Contains(p.stdout.String(), "begun") {
			return os.ErrNotExist
		}
		return nil
	})
	p.command.Process.Signal(unix.SIGINT)
	p.wait(0)
	if out := p.stdout.String(); !strings.Contains(out, ": stopped\n") || !strings.Contains(out, "command: [/bin/sh, ") {
		t.Errorf("it printed\n%s", out)
	}
	for command, want := range map[string]string{"exit 7": "failed with exit status 7", "kill -9 $$": "was ended by SIGKILL"} {
		p := x.start("", "learn", "--", "/bin/sh", "-c", command)
		p.wait(0)
		if !strings.Contains(p.stderr.String(), want) || !strings.Contains(p.stdout.String(), "application: sh\n") {
			t.Errorf("%s: %s%s", command, p.stdout.String(), p.stderr.String())
		}
	}
}

// TestBackground: what a program leaves behind is followed, and ended by ^C.
func TestBackground(t *testing.T) {
	x := begin(t, "coreutils")
	p := x.start("", "learn", "--", "/bin/sh", "-c", "(sleep 0.2; cat "+x.file("late", "late")+"; exec sleep 1000) & exit 0")
	p.await(func() error {
		if !strings.Contains(p.stdout.String(), "late") {
			return os.ErrNotExist
		}
		return nil
	})
	p.command.Process.Signal(unix.SIGINT)
	p.wait(0)
	if out := p.stdout.String(); !strings.Contains(out, x.directory+"/late ") || !strings.Contains(out, "it goes into the background") {
		t.Errorf("it printed\n%s", out)
	}
}

// TestMistakes of the command line are said, and nothing runs.
func TestMistakes(t *testing.T) {
	x := begin(t, "coreutils")
	there := x.file("there.yaml", "something")
	for _, c := range []struct {
		want      string
		status    int
		arguments []string
	}{
		{"is there already", 125, []string{"learn", "--output", there, "--", "/usr/bin/true"}},
		{"there is no policy nginx", 125, []string{"learn", "nginx"}},
		{"write sandbox learn -- ls", 125, []string{"learn", "ls", "x"}},
		{"write sandbox split -- ls", 125, []string{"split", "ls"}},
		{"no user \"nosuch\"", 125, []string{"learn", "--user", "nosuch", "--", "/usr/bin/true"}},
		{"the record is empty", 125, []string{"learn", "--record", x.directory + "/none"}},
		{"name a file that sandbox learn has written", 125, []string{"learn", "--record", there, "--", "/usr/bin/true"}},
		{"find the program /nosuch", 127, []string{"learn", "--", "/nosuch"}},
		{"find the program /etc/passwd", 126, []string{"learn", "--", "/etc/passwd"}},
	} {
		p := x.start("", c.arguments...)
		p.wait(c.status)
		if !strings.Contains(p.stderr.String(), c.want) {
			t.Errorf("%v: %s", c.arguments, p.stderr.String())
		}
	}
	if text, _ := os.ReadFile(there); string(text) != "something" {
		t.Error("a file that was there is overwritten")
	}
}

// TestBothWaysLearnTheSame: without eBPF every call is stopped, and the policy is
// the same.
func TestBothWaysLearnTheSame(t *testing.T) {
	x := begin(t, "coreutils")
	x.user = "nobody"
	x.observed("", "/usr/bin/cat", x.file("in", "text"))
	x.learnt()
	counted, err := os.ReadFile(x.policy)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(x.policy)
	p := x.start("", "learn", "--all-calls", "--user", "nobody", "--name", x.name, "--output", x.policy, "--", "/usr/bin/cat", x.directory+"/in")
	p.wait(0)
	stopped, err := os.ReadFile(x.policy)
	if err != nil {
		t.Fatal(err)
	}
	// What is used at most is another in each run, and only eBPF sees capabilities.
	if rights(string(counted)) != rights(string(stopped)) {
		t.Errorf("with eBPF\n%s\nwithout\n%s", counted, stopped)
	}
}

// TestWithoutRoot: who may not load eBPF learns all the same, and what is learnt
// is an ordinary user's policy.
func TestWithoutRoot(t *testing.T) {
	x := begin(t, "coreutils")
	binary, err := os.ReadFile(sandbox(t))
	if err != nil {
		t.Fatal(err)
	}
	// The checkout may be where others cannot go.
	program := x.file("sandbox", string(binary))
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "learn", "--", "/bin/sh", "-c", "/usr/bin/cat in | /usr/bin/sort; exit 3")
	x.file("in", "b\na\n")
	c.Dir, c.Env = x.directory, environment
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for _, want := range []string{"a\nb\n", "- " + x.directory + "/in ", "- /usr/bin/sort ", "directory: " + x.directory, "capabilities were not seen"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "user:") {
		t.Errorf("an ordinary user's components are that user:\n%s", out.String())
	}
	for _, want := range []string{"every call is stopped", "failed with exit status 3"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q: %s", want, said.String())
		}
	}
}

// rights are the lines of a policy without comments.
func rights(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " #")
		if line = strings.TrimRight(line, " \n"); !strings.HasPrefix(line, "#") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
