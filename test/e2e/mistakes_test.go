package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// expectMistake runs a start that must fail: with a status from 125 to 127,
// with one error that begins as given, and with nothing left behind.
func expectMistake(t *testing.T, a *Application, want int, message string) {
	t.Helper()
	if status := a.Wait(); status != want {
		t.Errorf("status %d, not %d", status, want)
	}
	pattern := regexp.MustCompile("(?m)^" + a.fill(message))
	if !pattern.MatchString(a.Err.String()) {
		t.Errorf("the message is not %q:\n%s", pattern, a.Err)
	}
	if strings.Contains(a.Err.String(), "panic") || strings.Contains(a.Err.String(), "goroutine ") {
		t.Errorf("it panics:\n%s", a.Err)
	}
	a.ExpectNothingLeft(0)
}

// What stands wrongly in the file is said with its place in the file.
func TestMistakesInPolicy(t *testing.T) {
	long := strings.Repeat("n", 64)
	for _, c := range []struct{ name, policy, message string }{
		{"unknown-key", "application: {{NAME}}\ncomponents:\n  web: {command: [{{BUSYBOX}}, \"true\"], comand: [x]}\n",
			`{{DIR}}/policy.yaml:3:\d+: unknown key "comand"`},
		{"wrong-type", "application: {{NAME}}\ncomponents:\n  web: {command: {{BUSYBOX}}}\n",
			`{{DIR}}/policy.yaml:3:18: `},
		{"missing-grant", "application: {{NAME}}\ncomponents:\n  web: {command: [{{BUSYBOX}}, \"true\"], grants: [nothing]}\n",
			`{{DIR}}/policy.yaml:3:\d+: .*nothing`},
		{"missing-file", "application: {{NAME}}\ncomponents:\n  web: {command: [{{BUSYBOX}}, \"true\"], files: {read: [/nothing/there]}}\n",
			`{{DIR}}/policy.yaml:3:\d+: .*/nothing/there`},
		{"long-name", "application: {{NAME}}\ncomponents:\n  " + long + ": {command: [{{BUSYBOX}}, \"true\"]}\n",
			`{{DIR}}/policy.yaml:3:3: `},
		{"long-application", "application: e2e-" + long + "\ncomponents:\n  web: {command: [{{BUSYBOX}}, \"true\"]}\n",
			`{{DIR}}/policy.yaml:1:14: `},
		{"climbing-application", "application: ../../tmp/e2e\ncomponents:\n  web: {command: [{{BUSYBOX}}, \"true\"]}\n",
			`{{DIR}}/policy.yaml:1:14: `},
		{"no-yaml", "application: [\n", `{{DIR}}/policy.yaml:\d+:\d+: `},
		{"binary", "\x7fELF\x00\x01", `{{DIR}}/policy.yaml:\d+:\d+: `},
		{"empty", "", `{{DIR}}/policy.yaml:\d+:\d+: `},
		{"supervisor-s-name", "application: {{NAME}}\ncomponents:\n  supervisor: {command: [{{BUSYBOX}}, \"true\"]}\n",
			`sandbox: {{DIR}}/policy.yaml:3:3: component "supervisor"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "mistake-"+c.name).Write(c.policy).Run()
			expectMistake(t, a, 125, c.message)
		})
	}
}

func TestPolicyIsNoFile(t *testing.T) {
	a := New(t, "no-file")
	a.Policy = a.Dir
	expectMistake(t, a.Run(), 125, "{{DIR}}: it is not a regular file")
	a.Policy = a.Dir + "/missing.yaml"
	expectMistake(t, a.Run(), 125, "{{DIR}}/missing.yaml: it does not exist")
}

const serving = `
application: {{NAME}}
grants:
  http: {listen: "tcp:127.0.0.1:{{PORT}}"}
components:
  web: {command: [{{PROGRAM}}, program, serve, web], grants: [http]}
`

func TestPortInUse(t *testing.T) {
	a := New(t, "port").Write(serving)
	l, err := net.Listen("tcp4", "127.0.0.1:"+itoa(a.Port()))
	if err != nil {
		t.Fatal(err)
	}
	a.Run()
	a.Wait()
	l.Close() // not ours, so not a leftover
	expectMistake(t, a, 125, `sandbox: {{DIR}}/policy.yaml:4:3: grant "http": listen on tcp:127.0.0.1:{{PORT}}: address already in use`)
}

// A file of another kind in a socket's place is no socket that a power cut
// left: it stays.
func TestFileInASocketsPlace(t *testing.T) {
	for _, kind := range []string{"file", "directory", "symlink", "fifo"} {
		t.Run(kind, func(t *testing.T) {
			a := New(t, "socket-place").Write(`
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
components:
  web: {command: [{{PROGRAM}}, program, serve, web], grants: [door]}
`)
			door := a.Dir + "/door"
			precious := a.File("precious", "precious")
			err := map[string]func() error{
				"file":      func() error { return os.WriteFile(door, []byte("precious"), 0o644) },
				"directory": func() error { return os.Mkdir(door, 0o755) },
				"symlink":   func() error { return os.Symlink(precious, door) },
				"fifo":      func() error { return unix.Mkfifo(door, 0o644) },
			}[kind]()
			if err != nil {
				t.Fatal(err)
			}
			expectMistake(t, a.Run(), 125, `.*{{DIR}}/policy.yaml:4:\d+: .*door`)
			for _, path := range []string{door, precious} {
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("it was removed: %v", err)
				}
			}
		})
	}
}

// ownPrograms gives an application a copy of the programs for itself.
func (a *Application) ownPrograms() {
	a.t.Helper()
	own := &Site{Dir: a.Dir + "/bin", Sandbox: a.Dir + "/bin/sandbox", Libexec: a.Dir + "/bin/libexec", Program: a.site.Program, Busybox: a.site.Busybox}
	if err := os.MkdirAll(own.Libexec, 0o755); err != nil {
		a.t.Fatal(err)
	}
	for _, name := range []string{"sandbox", "libexec/monitor", "libexec/builder", "libexec/supervisor", "libexec/init", "libexec/stub", "libexec/sweeper", "libexec/keeper"} {
		if err := copyProgram(filepath.Join(a.site.Dir, name), filepath.Join(own.Dir, name)); err != nil {
			a.t.Fatal(err)
		}
	}
	a.site = own
}

// A builder that was copied in part begins to run, and dies.
func TestBuilderIsHalfWritten(t *testing.T) {
	a := New(t, "half").Write(sleeper)
	a.ownPrograms()
	builder := a.site.Libexec + "/builder"
	whole, err := os.Stat(builder)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(builder, whole.Size()/4); err != nil {
		t.Fatal(err)
	}
	// On a busy machine it may get the order in its last moment.
	expectMistake(t, a.Run(), 125, "sandbox: the builder (.*/builder was killed by SIG[A-Z]+ before it had an order; .*make build|ended before it was done; ).*")
}

// An init that was copied in part says nothing, and how it died is said for it.
func TestInitIsHalfWritten(t *testing.T) {
	a := New(t, "half-init").Write(sleeper)
	a.ownPrograms()
	program := a.site.Libexec + "/init"
	whole, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(program, whole.Size()/4); err != nil {
		t.Fatal(err)
	}
	expectMistake(t, a.Run(), 125, `sandbox: create the compartment of component "web": wait for its init: it was killed by SIG[A-Z]+ at once; .*make build`)
}

// With a private copy of the programs that has something wrong with it.
func TestProgramsOfOursAreWrong(t *testing.T) {
	for _, program := range []string{"monitor", "builder", "supervisor", "init", "sweeper", "keeper"} {
		for _, wrong := range []struct {
			name string
			do   func(string) error
		}{
			{"missing", os.Remove},
			{"not executable", func(path string) error { return os.Chmod(path, 0o644) }},
			{"empty", func(path string) error { return os.WriteFile(path, nil, 0o755) }},
			{"a directory", func(path string) error { os.Remove(path); return os.Mkdir(path, 0o755) }},
		} {
			t.Run(program+" "+wrong.name, func(t *testing.T) {
				a := New(t, "programs").Write(sleeper)
				a.ownPrograms()
				if err := wrong.do(filepath.Join(a.site.Libexec, program)); err != nil {
					t.Fatal(err)
				}
				a.Run()
				expectMistake(t, a, 125, ".*"+program)
			})
		}
	}
}

// Something in the way of /run/sandbox/APPLICATION.
func TestStateDirectoryInTheWay(t *testing.T) {
	a := New(t, "state").Write(sleeper)
	if err := os.MkdirAll("/run/sandbox", 0o755); err != nil {
		t.Fatal(err)
	}
	place := "/run/sandbox/" + a.Name
	for _, kind := range []struct {
		name string
		do   func() error
	}{
		{"file", func() error { return os.WriteFile(place, nil, 0o644) }},
		{"symlink", func() error { return os.Symlink(a.Dir, place) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if err := kind.do(); err != nil {
				t.Fatal(err)
			}
			a.Run()
			status := a.Wait()
			if err := os.Remove(place); err != nil {
				t.Errorf("somebody else's %s was removed: %v", kind.name, err)
			}
			if status != 125 || !strings.Contains(a.Err.String(), place) {
				t.Errorf("status %d, %s", status, a.Err)
			}
			if _, err := os.Stat(a.Policy); err != nil {
				t.Errorf("what the link leads to was swept: %v", err)
			}
			a.ExpectNothingLeft(0)
		})
	}
}

// /run cannot be written: in a mount namespace of its own, where it is
// read-only.
func TestStateDirectoryNotWritable(t *testing.T) {
	a := New(t, "readonly").Write(sleeper)
	a.inMountNamespace("mount --make-rprivate / && mount -t tmpfs none /run && mount -o remount,ro /run && ")
	expectMistake(t, a, 125, "sandbox: make the state directory /run/sandbox: .*read-only")
}

// Debian mounts /run without execution, others without more. The walls of a
// compartment add to what its file system forbids and take nothing away.
func TestStateDirectoryWithoutExecution(t *testing.T) {
	for _, options := range []string{"nosuid,nodev,noexec", "noatime,noexec", "nosuid,nodev"} {
		t.Run(options, func(t *testing.T) {
			a := New(t, "noexec").Write(sleeper)
			a.inMountNamespace("mount --make-rprivate / && mount -t tmpfs -o " + options + " none /run && ")
			a.Ready()
			a.Stop()
		})
	}
}

// inMountNamespace runs the policy in a mount namespace of its own that a
// script of the shell prepares.
func (a *Application) inMountNamespace(script string) {
	a.t.Helper()
	a.command = exec.Command(a.site.Busybox, "unshare", "-m", a.site.Busybox, "sh", "-c", script+"exec "+a.site.Sandbox+" run "+a.Policy)
	a.start()
}

// A cgroup that cannot be made: cgroup file systems that are read-only, as they
// are in many containers.
func TestCgroupCannotBeMade(t *testing.T) {
	a := New(t, "cgroup").Write(sleeper)
	script := "mount --make-rprivate / && "
	for _, line := range mounts() {
		if strings.Contains(line, " - cgroup") {
			script += "mount -o remount,bind,ro " + strings.Fields(line)[4] + " && "
		}
	}
	a.inMountNamespace(script)
	expectMistake(t, a, 125, `sandbox: make the application's cgroup .*read-only file system`)
	a.Run().Ready()
	a.Stop()
}

// What is more than the parts of the broker take from one another is said, not
// cut, and found before anything runs or undone.
func TestPlanTooLarge(t *testing.T) {
	var environment, words strings.Builder
	for i := range 4000 { // of 6,000 bytes, in three components: more than 64 MiB
		fmt.Fprintf(&environment, "A%d: *long, ", i)
	}
	for range 5000 {
		words.WriteString("word, ")
	}
	plan := "application: {{NAME}}\nvariables: {long: &long " + strings.Repeat("x", 6000) + "}\ncomponents:\n" +
		"  a: {command: [{{BUSYBOX}}, sleep, '1000'], environment: &all {" + environment.String() + "}}\n" +
		"  b: {command: [{{BUSYBOX}}, sleep, '1000'], environment: *all}\n" +
		"  c: {command: [{{BUSYBOX}}, sleep, '1000'], environment: *all}\n"
	for _, c := range []struct{ name, policy, message string }{
		{"plan", plan, "sandbox: encode plan: .* bytes are more than the 67108864 allowed"},
		{"arguments", "application: {{NAME}}\ncomponents:\n  web: {command: [{{BUSYBOX}}, " + words.String() + "end]}\n", `(?s).*sandbox: create the compartment of component "web": wait for its init: it ended at once`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "large-"+c.name).Write(c.policy).Run()
			expectMistake(t, a, 125, c.message)
		})
	}
}

// With too few descriptors to be had, a start fails and undoes itself, or
// succeeds; there is nothing between.
func TestOutOfDescriptors(t *testing.T) {
	ran := 0
	for _, n := range []int{8, 12, 16, 24, 32, 64, 256, 4096, 16384} {
		t.Run(itoa(n), func(t *testing.T) {
			a := New(t, "descriptors").Write(sleeper)
			a.command = exec.Command(a.site.Busybox, "sh", "-c", "ulimit -n "+itoa(n)+" && exec "+a.site.Sandbox+" run "+a.Policy)
			a.start()
			if a.Err.wait("application "+a.Name+": up after", *patience) {
				ran++
				if status := a.Stop(); status != 0 {
					t.Errorf("status %d", status)
				}
				return
			}
			if status := a.Wait(); status != 125 && status != 2 { // 2: the Go runtime itself could not start
				t.Errorf("status %d", status)
			}
			if a.Err.String() == "" {
				t.Error("it says nothing")
			}
			a.ExpectNothingLeft(0)
		})
	}
	if ran == 0 { // with CAP_SYS_RESOURCE the limit is raised, and most do
		t.Error("none ran")
	}
}

// A start raises the limit of processes that it was given, as that of
// descriptors; where it may not, the person hears whose limit it is.
func TestOutOfProcesses(t *testing.T) {
	for _, c := range []struct{ limit, message string }{
		{"1:1000", ""},
		{"8:8", `sandbox: {{DIR}}/policy.yaml:4:3: component "web" may have 64 processes, but this process at most 8 \(ulimit -Hu\): operation not permitted; raise that limit`},
	} {
		t.Run(c.limit, func(t *testing.T) {
			a := New(t, "processes").Write(sleeper)
			a.command = exec.Command("prlimit", "--nproc="+c.limit, "setpriv", "--bounding-set=-sys_resource", a.site.Sandbox, "run", a.Policy)
			a.start()
			if c.message != "" {
				expectMistake(t, a, 125, c.message)
				return
			}
			a.Ready()
			if status := a.Stop(); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// In a pid namespace with the /proc of another, every number means another
// process.
func TestProcOfAnotherNamespace(t *testing.T) {
	for _, c := range []struct{ name, option, script, message string }{
		{"of another", "-p", "", `sandbox: find this process in /proc: it is \d+ there and \d+ here, so that /proc is of another pid namespace; mount one`},
		{"none", "-m", "mount --make-rprivate / && mount -t tmpfs none /proc && ", `sandbox: find this process in /proc: readlink /proc/self: no such file or directory; mount /proc`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, "proc").Write(sleeper)
			a.command = exec.Command(a.site.Busybox, "unshare", c.option, "-f", a.site.Busybox, "sh", "-c", c.script+a.site.Sandbox+" run "+a.Policy)
			a.start()
			expectMistake(t, a, 125, c.message)
		})
	}
}
