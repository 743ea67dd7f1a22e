package observe

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulkhead/policy/calls"
	"bulkhead/policy/learn"
)

// The tests run this very program again, as `sandbox learn` runs bin/sandbox:
// first as the observer of one run, which must be a process of its own because
// it is the parent of all orphans, and from there as the stage.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == StageCommand {
		socket, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = Stage(socket)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	if len(os.Args) > 2 && os.Args[1] == "observe" {
		observeOnce(os.Args[2] == "everything", os.Args[3], os.Args[4:])
	}
	os.Exit(m.Run())
}

func observeOnce(everything bool, file string, command []string) {
	directory, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	record, _, err := Run(Options{
		Program: command[0], Arguments: command, Environment: []string{"PATH=/usr/bin:/bin"}, Directory: directory, Everything: everything,
		Absent: learn.Absent(), Say: func(format string, arguments ...any) { fmt.Fprintf(os.Stderr, format+"\n", arguments...) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	text, err := record.Text()
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(0)
}

// how are the two ways to observe.
var how = []string{"counted", "everything"}

// observed is the record of a run.
func observed(t testing.TB, way, directory string, command ...string) *learn.Record {
	t.Helper()
	if os.Geteuid() != 0 && way == "counted" {
		t.Skip("only root may load eBPF")
	}
	file := filepath.Join(t.TempDir(), "record")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, append([]string{"observe", way, file}, command...)...)
	c.Dir = directory
	c.WaitDelay = time.Minute
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	record, err := learn.ReadRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func each(t *testing.T, test func(t *testing.T, way string)) {
	for _, way := range how {
		t.Run(way, func(t *testing.T) { test(t, way) })
	}
}

func python(script string) []string { return []string{"/usr/bin/python3", "-I", "-S", "-c", script} }

// TestNothingIsMissed: a thousand files, each opened once, by eight threads of
// four processes that do nothing else.
func TestNothingIsMissed(t *testing.T) {
	directory := t.TempDir()
	const files = 1000
	for i := range files {
		if err := os.WriteFile(filepath.Join(directory, fmt.Sprintf("f%d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	each(t, func(t *testing.T, way string) {
		r := observed(t, way, directory, python(fmt.Sprintf(`
import os, threading
def some(first):
    for i in range(first, %d, 32):
        os.close(os.open("f%%d" %% i, os.O_RDONLY))
for p in range(4):
    if os.fork() == 0:
        all = [threading.Thread(target=some, args=(8*p+t,)) for t in range(8)]
        [t.start() for t in all]; [t.join() for t in all]
        os._exit(0)
for p in range(4): os.wait()
`, files))...)
		p := r.Program("/usr/bin/python3")
		for i := range files {
			name := filepath.Join(directory, fmt.Sprintf("f%d", i))
			if use := p.Paths[name]; use == nil || use.Uses[learn.Read] != 1 {
				t.Fatalf("%s was opened once: %+v", name, use)
			}
		}
		if p.Calls["openat"] < files || p.Calls["wait4"] != 4 {
			t.Errorf("openat %d times, wait4 %d times", p.Calls["openat"], p.Calls["wait4"])
		}
		if p.Peak.Tasks < 6 {
			t.Errorf("at most %d tasks at once", p.Peak.Tasks)
		}
		if len(r.Incomplete()) > 0 && way == "counted" {
			t.Error(r.Incomplete())
		}
	})
}

// TestKilledCallersAreNotMissed: a call that its caller does not live to make is no
// gap in the record, though nothing of it can be read any more.
func TestKilledCallersAreNotMissed(t *testing.T) {
	r := observed(t, "counted", "/", python(`
import os, signal, time
for i in range(600):
    pid = os.fork()
    if pid == 0:
        while True: os.stat("/etc/passwd")
    time.sleep(i * 5e-6)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
`)...)
	if len(r.Incomplete()) > 0 {
		t.Error(r.Incomplete())
	}
}

// TestBothWaysCountTheSame: what eBPF counts is what was there to stop.
func TestBothWaysCountTheSame(t *testing.T) {
	script := python(`
import os
for i in range(321): os.getppid()
for i in range(123): os.getpriority(os.PRIO_PROCESS, 0)
`)
	for _, way := range how {
		p := observed(t, way, "/", script...).Program("/usr/bin/python3")
		if p.Calls["getppid"] != 321 || p.Calls["getpriority"] != 123 {
			t.Errorf("%s: getppid %d times, getpriority %d times", way, p.Calls["getppid"], p.Calls["getpriority"])
		}
	}
}

func TestPathsAreWhatTheProgramMeant(t *testing.T) {
	directory, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/in", "b/beside", "old"} {
		os.MkdirAll(filepath.Dir(filepath.Join(directory, name)), 0o755)
		os.WriteFile(filepath.Join(directory, name), nil, 0o644)
	}
	os.Symlink("b", filepath.Join(directory, "link"))
	each(t, func(t *testing.T, way string) {
		os.Remove(filepath.Join(directory, "made"))
		os.Remove(filepath.Join(directory, "a/new"))
		p := observed(t, way, directory, python(`
import os
os.chdir("a")
d = os.open("..", os.O_RDONLY | os.O_DIRECTORY)
open("in").close()
os.close(os.open("b/beside", os.O_RDONLY, dir_fd=d))
open("../link/../old").close()
open("new", "w").close()
open("new", "w").close()
os.stat("nothing-there") if os.path.exists("nothing-there") else None
os.mkdir("../made"); os.rmdir("../made")
`)...).Program("/usr/bin/python3")
		for name, want := range map[string]learn.Use{"a": learn.Enter, "a/in": learn.Read, "b/beside": learn.Read, "old": learn.Read,
			"a/new": learn.Create, "made": learn.Remove} {
			if use := p.Paths[filepath.Join(directory, name)]; use == nil || use.Uses[want] == 0 {
				t.Errorf("%s: %+v, not %s", name, use, want)
			}
		}
		if use := p.Paths[filepath.Join(directory, "a/new")]; use != nil && (!use.New || use.Uses[learn.Write] != 1) {
			t.Errorf("a file that was made and written again: %+v", use)
		}
		if use := p.Paths[filepath.Join(directory, "a/nothing-there")]; use != nil {
			t.Errorf("what is not there needs nothing: %+v", use)
		}
	})
}

func TestProgramsAreToldApart(t *testing.T) {
	directory := t.TempDir()
	os.WriteFile(filepath.Join(directory, "x"), []byte("x"), 0o644)
	each(t, func(t *testing.T, way string) {
		r := observed(t, way, directory, "/bin/sh", "-c", "nosuchprogram 2>/dev/null; cat x; /usr/bin/env -i /usr/bin/cat x; (cat x; cat x)")
		shell, cat := r.Program("/bin/sh"), r.Program("/usr/bin/cat")
		if cat.Paths[filepath.Join(directory, "x")] == nil || shell.Paths[filepath.Join(directory, "x")] != nil {
			t.Error("the file that cat read is not cat's alone")
		}
		if shell.Executes["/usr/bin/cat"] != 3 || shell.Executes["/usr/bin/env"] != 1 || r.Program("/usr/bin/env").Executes["/usr/bin/cat"] != 1 {
			t.Errorf("sh started %v, env %v", shell.Executes, r.Program("/usr/bin/env").Executes)
		}
		if cat.Calls["fadvise64"] != 4 {
			t.Errorf("four cats: %v", cat.Calls)
		}
	})
}

// What filters let every program ask is not worth a stop each time.
func TestCommandsOfDescriptors(t *testing.T) {
	each(t, func(t *testing.T, way string) {
		p := observed(t, way, t.TempDir(), python(`
import fcntl
f = open("f", "w")
fcntl.fcntl(f, fcntl.F_GETFL)
fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)
`)...).Program("/usr/bin/python3")
		var got []string
		for text := range p.Arguments {
			if strings.HasPrefix(text, "fcntl") {
				got = append(got, text)
			}
		}
		if !slices.Contains(got, "fcntl 1024") || way == "counted" && len(got) != 1 {
			t.Errorf("commands: %q", got)
		}
	})
}

func TestSockets(t *testing.T) {
	directory := t.TempDir()
	each(t, func(t *testing.T, way string) {
		os.Remove(filepath.Join(directory, "s"))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		p := observed(t, way, directory, python(fmt.Sprintf(`
import socket as s
t = s.socket(); t.bind(("127.0.0.1", 27901)); t.listen()
u = s.socket(type=s.SOCK_DGRAM); u.bind(("127.0.0.1", 27902))
c = s.socket(type=s.SOCK_DGRAM); c.sendto(b"x", ("127.0.0.1", 27902)); d, a = u.recvfrom(9); u.sendto(d, a)
c.sendmsg([b"x"], [], 0, ("127.0.0.1", 27902))
x = s.socket(s.AF_UNIX); x.bind("s"); x.listen()
s.socket(s.AF_UNIX).connect("s")
s.socket(s.AF_INET6).connect(("::ffff:127.0.0.1", %s))
e = s.socket(); e.listen()
try: s.socket(s.AF_UNIX).connect("/nobody/there")
except OSError: pass
`, port))...).Program("/usr/bin/python3")
		var got []string
		for name, count := range p.Sockets {
			got = append(got, fmt.Sprintf("%s ×%d", name, count))
		}
		slices.Sort(got)
		want := []string{"connect tcp:127.0.0.1:" + port + " ×1", "connect unix:" + directory + "/s ×1", "listen tcp:0.0.0.0:0 chosen ×1", "listen tcp:127.0.0.1:27901 ×1",
			"listen udp:127.0.0.1:27902 ×1", "listen unix:" + directory + "/s ×1", "send udp:127.0.0.1:27902 ×2"}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestCapabilities(t *testing.T) {
	if !slices.Contains(tracepoints(t), "cap_capable") {
		t.Skip("this kernel has no tracepoint for capabilities: Linux 6.14")
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	r := observed(t, "counted", "/", "/bin/sh", "-c", "/usr/bin/chown 1:1 "+file+"; exec /usr/bin/cat "+file)
	if n := r.Program("/usr/bin/chown").Capabilities["CAP_CHOWN"]; n == 0 {
		t.Errorf("chown used %v", r.Program("/usr/bin/chown").Capabilities)
	}
	if n := len(r.Program("/usr/bin/cat").Capabilities); n != 0 {
		t.Errorf("cat used %v", r.Program("/usr/bin/cat").Capabilities)
	}
}

func tracepoints(t *testing.T) []string {
	entries, err := os.ReadDir("/sys/kernel/tracing/events/capability")
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestWhatGoesIntoTheBackgroundIsFollowed: the run ends when the last one has.
func TestWhatGoesIntoTheBackgroundIsFollowed(t *testing.T) {
	directory := t.TempDir()
	each(t, func(t *testing.T, way string) {
		os.Remove(filepath.Join(directory, "late"))
		r := observed(t, way, directory, "/bin/sh", "-c", "(setsid /bin/sh -c 'sleep 0.3; echo x > late' &) & exit 3")
		if r.Runs[0].Ended != "exit status 3" || !r.Runs[0].Failed {
			t.Errorf("%+v", r.Runs[0])
		}
		if use := r.Program("/bin/sh").Paths[filepath.Join(directory, "late")]; use == nil || use.Uses[learn.Create] != 1 {
			t.Errorf("what it did after its parent had ended: %+v", use)
		}
	})
}

func TestAbsentCallsAreAbsent(t *testing.T) {
	clone3, _ := calls.Number("clone3")
	each(t, func(t *testing.T, way string) {
		r := observed(t, way, "/", python(fmt.Sprintf(`
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(%d, 0, 0) == -1 and ctypes.get_errno() == 38
`, clone3))...)
		if r.Runs[0].Failed {
			t.Error("clone3 is there while a program is observed, and will not be later")
		}
	})
}

func TestFilterOrdersItsJumps(t *testing.T) {
	for _, everything := range []bool{true, false} {
		code := filter(everything, learn.Absent(), []string{"ptrace"})
		if len(code)%8 != 0 || len(code)/8 > 4096 {
			t.Errorf("%d bytes", len(code))
		}
	}
}
