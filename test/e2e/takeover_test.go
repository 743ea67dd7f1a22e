package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// takenOver is a site in which hostile code runs in the supervisor's place. It
// has the supervisor's walls, its descriptors and its socket to the monitor.
func takenOver(t *testing.T) *Site {
	t.Helper()
	return replaced(t, "supervisor")
}

// replaced is a site in which one of the broker's programs is a hostile one.
func replaced(t *testing.T, name string) *Site {
	t.Helper()
	site(t) // or the test cannot run here
	own, err := newSite(*binDirectory)
	t.Cleanup(own.remove)
	if err != nil {
		t.Fatal(err)
	}
	if *built != "" {
		program := filepath.Join(own.Libexec, name)
		if err := errors.Join(os.Remove(program), copyProgram(filepath.Join(*built, name), program)); err != nil {
			t.Fatal(err)
		}
		return own
	}
	// Static, as the supervisor is: its filter lets no library be loaded.
	build := exec.Command("go", "build", "-o", filepath.Join(own.Libexec, name), "./hostile/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the hostile %s: %v\n%s", name, err, out)
	}
	return own
}

const takeover = `
application: {{NAME}}
grants:
  secret: {file: "{{DIR}}/secret"}
components:
  web:  {command: [{{BUSYBOX}}, sleep, "1000"], grants: [secret], may-start: [work]}
  work: {command: [{{BUSYBOX}}, sleep, "1000"], start: per-request}
`

// The plan is all that a supervisor which was taken over has: it may start what
// the plan lets start and end what runs.
func TestTakenOverSupervisorGainsNothing(t *testing.T) {
	a := New(t, "takeover-grabs")
	a.site = takenOver(t)
	a.File("secret", "secret")
	a.Write(takeover).Run()
	a.ExpectStatus(7) // which it may choose
	expect(t, a.Out.String(), `
	open /etc/hostname: ENOENT
	open /etc/shadow: ENOENT
	open /proc/1/mem: EACCES
	open /proc/1/root/etc/passwd: EACCES
	open /run/sandbox: ENOENT
	open /dev/kmsg: ENOENT
	make a file: EROFS
	change the plan: EPERM
	execute a shell: ENOENT
	fork: EPERM
	make a socket: EPERM
	a new user namespace: EPERM
	mount: EPERM
	trace its init: EPERM
	kill its init: EPERM
	become root: EPERM
	bpf: EPERM
	open by handle: EPERM
	connect elsewhere: EPERM
	start web: ok
	start web again: EBUSY
	start one that starts per request: EPERM
	start another of itself: EINVAL
	start none: EINVAL
	start far away: EINVAL
	signal itself: ESRCH
	signal nobody: ESRCH
	build itself: EINVAL
	build nothing: EINVAL
	build what is there: ok
	hold nobody: EINVAL
	probe what has no readiness: EINVAL
	check what has no health: EINVAL
	open a log that is none: EINVAL
	watch nobody: EINVAL
	retire itself: ESRCH
	tidy up what has nothing to: EINVAL
	tidy up in another way: EINVAL
	end the tidying up of what has nothing to: EINVAL
	freeze itself: ESRCH
	freeze in another way: ESRCH
	announce something else: EINVAL
	asked
`)
}

// One that says what no supervisor says costs the application its life, and
// somebody says so.
func TestTakenOverSupervisorSaysNonsense(t *testing.T) {
	own := takenOver(t)
	for what, why := range map[string]string{
		"short":       "the packet ends too early",
		"empty-body":  "the packet ends too early",
		"long-body":   "bytes stand behind the end of the message",
		"too-large":   "the message is larger than 4096 bytes",
		"version":     "unknown protocol version",
		"reply":       "the header is malformed",
		"unknown":     "there is no command 999",
		"worker-open": "there is no command 1",
		"monitors":    "the header is malformed",
		"descriptor":  "the header is malformed",
	} {
		t.Run(what, func(t *testing.T) {
			a := New(t, "takeover-"+what)
			a.site = own
			a.File("secret", "secret")
			a.Write(takeover).Run()
			a.ExpectStatus(125)
			if want := "sandbox: the supervisor said what no supervisor says, and the application ends: "; !strings.Contains(a.Err.String(), want) || !strings.Contains(a.Err.String(), why) {
				t.Errorf("neither %q nor %q in:\n%s", want, why, a.Err)
			}
			a.ExpectNothingLeft(*patience)
		})
	}
}

// One that does not stop what it is asked to stop is asked three times.
func TestTakenOverSupervisorStays(t *testing.T) {
	a := New(t, "takeover-stays")
	a.site = takenOver(t)
	a.File("secret", "secret")
	a.Write(takeover).Run()
	a.Expect(a.Out, "stays")
	// Signals of one kind that come while the monitor is busy are one to it.
	asked := 0
	for end := time.Now().Add(*patience); a.running() && time.Now().Before(end); asked++ {
		a.Signal(unix.SIGTERM)
		time.Sleep(100 * time.Millisecond)
	}
	if asked < 3 {
		t.Errorf("it ended when it was asked %d times", asked)
	}
	a.ExpectStatus(128 + int(unix.SIGTERM))
	if want := "the supervisor does not stop the application"; !strings.Contains(a.Err.String(), want) {
		t.Errorf("%q is missing in:\n%s", want, a.Err)
	}
	a.ExpectNothingLeft(*patience)
}

// A stop comes to an end whatever the supervisor does: stands still, does not
// heed what it is asked, or begins and does not go on. One signal is enough.
func TestStopIsBounded(t *testing.T) {
	const unheeded = "sandbox: the supervisor was asked to stop the application and has not begun within 10s; the application ends now"
	terminate := func(a *Application) { a.Signal(unix.SIGTERM) }
	standStill := func(a *Application) {
		a.Ready()
		a.Of(Supervisor, "")[0].Kill(unix.SIGSTOP)
	}
	for _, c := range []struct {
		supervisor string
		site       func(*testing.T) *Site
		reach      func(*Application)
		ask        func(*Application) // to stop
		said       string
		limit      time.Duration
	}{
		{"stopped", lane, standStill, terminate, unheeded, 10 * time.Second},
		{"stopped-and-down", lane, standStill, func(a *Application) {
			down := exec.Command(site(a.t).Sandbox, "down", a.Name) // not its own, which is looked for
			said := newOutput()
			down.Stderr = said
			if err := down.Start(); err != nil {
				a.t.Fatal(err)
			}
			a.t.Cleanup(func() {
				if err := down.Wait(); err != nil || !strings.Contains(said.String(), "does not answer; its broker is sent SIGTERM") {
					a.t.Errorf("sandbox down: %v\n%s", err, said)
				}
			})
		}, unheeded, 15 * time.Second},
		{"stays", takenOverLane, func(a *Application) { a.Expect(a.Out, "stays") }, terminate, unheeded, 10 * time.Second},
		{"begins", takenOverLane, func(a *Application) {
			a.Expect(a.Out, "stays")
			expect(a.t, a.Out.String(), "start web: ok\nbegin to stop: ok\nstays")
		}, terminate, "sandbox: the supervisor began to stop the application and has not done it within 17s; the application ends now", 17 * time.Second},
	} {
		t.Run(c.supervisor, func(t *testing.T) {
			own := c.site(t)
			a := New(t, "takeover-"+c.supervisor)
			a.site = own
			a.File("secret", "secret")
			// Without log pipes: hostile code would be its own successor, who
			// is given another 10 s.
			policy := strings.ReplaceAll(takeover, `command:`, `stop-timeout: 1s, output: inherit, command:`)
			a.Write(policy).Run()
			c.reach(a)
			c.ask(a)
			if !a.Err.wait(c.said, c.limit+*patience) {
				t.Errorf("%q is missing in:\n%s", c.said, a.Err)
			}
			a.ExpectStatus(125)
		})
	}
}

// takenOverLane is takenOver beside others.
func takenOverLane(t *testing.T) *Site {
	t.Helper()
	t.Parallel()
	return takenOver(t)
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	lines := func(s string) []string {
		var all []string
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, line)
			}
		}
		return all
	}
	g, w := lines(got), lines(want)
	for i := range max(len(g), len(w)) {
		has, should := "", ""
		if i < len(g) {
			has = g[i]
		}
		if i < len(w) {
			should = w[i]
		}
		if has != should {
			t.Errorf("it wrote %q, not %q", has, should)
		}
	}
}

// The keeper takes another plan from those who could start the application, and
// not from a process of the broker's own user in a compartment, even when that
// got hold of the socket.
func TestPlanFromACompartment(t *testing.T) {
	a := New(t, "bring").Write(`
application: {{NAME}}
components:
  web: {command: [{{BUSYBOX}}, sleep, "1000"], user: root}
`).Run().Ready()
	worker := itoa(a.Of(Program, "web")[0].Pid)
	for _, who := range []struct{ name, where, want string }{
		{"outside", "", "taken"},
		{"with a user namespace of its own", "unshare --user --map-root-user", "refused"},
		{"with a pid namespace of its own", "unshare --pid --fork", "refused"},
		{"in the compartment", "nsenter --target " + worker + " --user --pid", "refused"},
		{"in the compartment, as far as its user", "nsenter --target " + worker + " --user", "refused"},
		{"in the compartment, as far as its pids", "nsenter --target " + worker + " --pid", "refused"},
		{"outside, again", "", "taken"},
	} {
		command := append(strings.Fields(who.where), a.site.Program, "hostile", "bring", "3", "4")
		bring := exec.Command(command[0], command[1:]...)
		socket, err := unix.Open("/run/sandbox/"+a.Name+"/reload", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		present, err := os.Open("/run/sandbox/" + a.Name + "/plan")
		if err != nil {
			t.Fatal(err)
		}
		bring.ExtraFiles = []*os.File{os.NewFile(uintptr(socket), "socket"), present}
		out, err := bring.CombinedOutput()
		for _, f := range bring.ExtraFiles {
			f.Close()
		}
		if got := strings.TrimSpace(string(out)); got != who.want {
			t.Errorf("%s: %s (%v), want %s", who.name, got, err, who.want)
		}
	}
	const said = "it is not in the user and pid namespace that the application was started in"
	a.eventually("the keeper has said why", func() bool { return strings.Count(a.Err.String(), said) == 5 })
	a.Stop()
}

// A monitor that was taken over has root's name, and in its place finds nothing
// of the host but what the plan grants. The test looks through its root, with
// every right, so that nothing but the mounts can refuse.
func TestMonitorReachesNothingElse(t *testing.T) {
	a := New(t, "reach")
	a.File("granted/file", "granted")
	a.File("beside/file", "beside")
	a.File("read/file", "read")
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/granted", access: read-write}
  text: {file: "{{DIR}}/read/file"}
components:
  web: {command: [{{BUSYBOX}}, sleep, "1000"], grants: [store, text]}
`).Run().Ready()
	root := "/proc/" + itoa(a.Of(Monitor, "")[0].Pid) + "/root"
	reads := func(path string) error {
		fd, err := unix.Open(root+path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		return err
	}
	writes := func(path string) error {
		fd, err := unix.Open(root+path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		unix.Close(fd)
		return err
	}
	for _, c := range []struct {
		path        string
		read, write error
	}{
		{a.Dir + "/granted/file", nil, nil},
		{a.Dir + "/granted/new", nil, nil},
		{a.Dir + "/read/file", nil, unix.EROFS},
		{a.Dir + "/read/new", unix.ENOENT, unix.EROFS},
		{a.Dir + "/beside/file", unix.ENOENT, unix.ENOENT},
		{a.Dir + "/policy.yaml", unix.ENOENT, unix.EROFS},
		{"/etc/shadow", unix.ENOENT, unix.ENOENT},
		{"/etc/cron.d/x", unix.ENOENT, unix.ENOENT},
		{"/root/.ssh/authorized_keys", unix.ENOENT, unix.ENOENT},
		{"/new", unix.ENOENT, unix.EROFS},
		{"/usr/bin/env", unix.ENOENT, unix.ENOENT},
		{"/dev/kmsg", unix.ENOENT, unix.EROFS},
		{"/dev/vda", unix.ENOENT, unix.EROFS},
		{"/run/systemd/private", unix.ENOENT, unix.ENOENT},
		{"/run/sandbox/other/plan", unix.ENOENT, unix.ENOENT},
		{"/sys/fs/cgroup/cgroup.procs", unix.ENOENT, unix.EROFS},
		{"/proc/sys/kernel/core_pattern", nil, unix.EROFS},
		{"/proc/sys/vm/overcommit_memory", nil, unix.EROFS},
		{"/../../../etc/shadow", unix.ENOENT, unix.ENOENT},
	} {
		if err := writes(c.path); err != c.write {
			t.Errorf("write %s: %v, want %v", c.path, err, c.write)
		}
		if err := reads(c.path); err != c.read {
			t.Errorf("read %s: %v, want %v", c.path, err, c.read)
		}
	}
}

// Hostile code in the monitor's place, and without its filter (which stops more,
// as open_by_handle_at(2)): it has the rights,
// the root and the descriptors that the launcher leaves. Root's name opens
// nothing, and the ways round the root are closed.
func TestTakenOverMonitor(t *testing.T) {
	a := New(t, "takeover-monitor")
	a.site = replaced(t, "monitor")
	a.File("secret", "secret")
	a.File("store/file", "granted")
	a.Write(`
application: {{NAME}}
grants:
  store: {directory: "{{DIR}}/store"}
components:
  web: {command: [{{BUSYBOX}}, sleep, "1000"], grants: [store]}
`).Run()
	a.ExpectStatus(7)
	expect(t, a.Out.String(), a.fill(`
	open {{DIR}}/store/file: ok
	write {{DIR}}/store/file: EROFS
	open {{DIR}}/secret: ENOENT
	open /etc/shadow: ENOENT
	write /etc/cron.d/hostile: ENOENT
	write /new: EROFS
	open /proc/1/root/etc/shadow: EACCES
	open /proc/1/mem: EACCES
	open the keeper's root: EACCES
	open the sweeper's root: EACCES
	enter the host's mount namespace: EACCES
	write /proc/sys/kernel/core_pattern: EROFS
	mount: EPERM
	unmount /: EPERM
	remount / writable: EPERM
	a new mount namespace: EPERM
	clone the root: EPERM
	change the root: EPERM
	a device of its own: EPERM
	up from a granted directory: ENOENT
	up from the working directory: ENOENT
`))
}

// The monitor's root has directories as they were when it was made. One that is
// made again, as a service manager does with a service's, is found again.
func TestDirectoriesMadeAgain(t *testing.T) {
	a := New(t, "again")
	serve := func() (stop func()) {
		if err := os.MkdirAll(a.Dir+"/run", 0o755); err != nil {
			t.Fatal(err)
		}
		server, err := net.Listen("unix", a.Dir+"/run/socket")
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(a.Dir+"/run/socket", 0o666)
		go func() {
			for {
				c, err := server.Accept()
				if err != nil {
					return
				}
				io.CopyN(io.Discard, c, int64(len("hello")))
				io.WriteString(c, "answer")
				c.Close()
			}
		}()
		return func() {
			server.Close()
			os.RemoveAll(a.Dir + "/run")
		}
	}
	a.File("store/file", "first")
	a.File("log/old", "")
	stop := serve()
	a.Write(`
application: {{NAME}}
grants:
  bus:   {connect: "unix:{{DIR}}/run/socket"}
  store: {directory: "{{DIR}}/store"}
  log:   {file: "{{DIR}}/log/new", access: append, create: true}
components:
  bus:   {command: [{{PROGRAM}}, program, ask, every connect bus], grants: [bus], restart: never}
  store: {command: [{{PROGRAM}}, program, ask, every read store file], grants: [store], restart: never}
  log:   {command: [{{PROGRAM}}, program, ask, every write log - wa x], grants: [log: {at-start: false}], restart: never}
`).Run().Ready()
	has := func(component string, n int, last string) {
		t.Helper()
		a.eventually(component+" says "+last, func() bool {
			lines := a.Lines(component)
			return len(lines) >= n && strings.HasSuffix(lines[len(lines)-1], last)
		})
	}
	has("bus", 1, `"answer"`)
	has("store", 1, `"first"`)
	has("log", 1, "ok")
	stop()
	has("bus", 2, "ENOENT")
	stop = serve()
	has("bus", 3, `"answer"`)
	os.RemoveAll(a.Dir + "/store")
	has("store", 2, "ENOENT")
	a.File("store/file", "second")
	has("store", 3, `"second"`)
	os.RemoveAll(a.Dir + "/log")
	a.File("log/old", "")
	a.eventually("the log is there again", func() bool {
		b, _ := os.ReadFile(a.Dir + "/log/new")
		return len(b) > 0
	})
	if out, err := exec.Command(a.site.Sandbox, "inspect", "--verify", a.Name).CombinedOutput(); err != nil {
		t.Errorf("inspect --verify of a root that was made anew: %v\n%s", err, out)
	}
	stop()
	a.Stop()
}
