package daemons

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/launch"
	"bulkhead/sandbox/cgroup"
	"bulkhead/test/transcript"
)

// patience bounds what a daemon does at once on a machine with time to spare.
const patience = time.Minute

// application is a running application of one profile.
type application struct {
	t         *testing.T
	name      string
	component string
	process   *exec.Cmd
	output    *transcript.Transcript
	ended     chan struct{} // closed when the broker has ended
}

// needs ends the test, saying what to do, unless the machine has what it needs.
func needs(t *testing.T, packages ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: a profile's daemon runs as a user of its own")
	}
	if _, err := os.Stat(sandbox(t)); err != nil {
		t.Fatalf("bin/sandbox is not built (%v): run make build", err)
	}
	for _, name := range packages {
		status, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name).Output()
		if err != nil || !strings.HasPrefix(string(status), "ii") {
			t.Fatalf("the Debian package %s is not installed: run make setup-test", name)
		}
	}
}

// long leaves a test out of short runs.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: redis and nginx stand for the others")
	}
}

func sandbox(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a profile. Each element of set is what follows --set.
func start(t *testing.T, profile string, set ...string) *application {
	t.Helper()
	a := launchProfile(t, profile, set...)
	a.tellWhenFailed()
	return a
}

// startPolicy runs a policy of the test's own, one of whose components is the
// daemon.
func startPolicy(t *testing.T, policy, component string) *application {
	t.Helper()
	a := launchPolicy(t, policy, component)
	a.tellWhenFailed()
	return a
}

func (a *application) tellWhenFailed() {
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("the application's output:\n%s", a.output)
		}
	})
}

func launchProfile(t *testing.T, profile string, set ...string) *application {
	t.Helper()
	return launchPolicy(t, filepath.Join("../../profiles", profile+".yaml"), profile, set...)
}

func launchPolicy(t *testing.T, policy, component string, set ...string) *application {
	t.Helper()
	a := &application{
		t: t, name: "test-" + component + "-" + strconv.Itoa(os.Getpid()), component: component,
		output: &transcript.Transcript{}, ended: make(chan struct{}),
	}
	arguments := []string{"run", policy, "--set", "application=" + a.name}
	for _, s := range set {
		arguments = append(arguments, "--set", s)
	}
	a.process = exec.Command(sandbox(t), arguments...)
	a.process.Stdout, a.process.Stderr = a.output, a.output
	if err := a.process.Start(); err != nil {
		t.Fatalf("start %s: %v", a.name, err)
	}
	go func() {
		a.process.Wait() // its status is in process.ProcessState
		close(a.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-a.ended:
		default:
			// A test that failed half-way. The broker takes everything with it.
			a.process.Process.Kill()
			<-a.ended
		}
	})
	return a
}

// await tries until something works, or fails the test with the last reason.
func (a *application) await(what string, try func() error) {
	a.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-a.ended:
			a.t.Fatalf("%s: %v; the application has ended: %v", what, err, a.process.ProcessState)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: not after %v: %v", what, patience, err)
		}
	}
}

// ask sends one request to the application's control socket.
func (a *application) ask(r control.Request) control.Reply {
	a.t.Helper()
	base, err := launch.StateDirectory()
	if err != nil {
		a.t.Fatal(err)
	}
	client, err := control.Dial(filepath.Join(base, a.name, "control"))
	if err != nil {
		a.t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(patience))
	reply, err := client.Do(r, nil)
	if err != nil {
		a.t.Fatalf("%s %s: %v", r.Verb, r.Component, err)
	}
	return reply
}

// reload lets the daemon read its configuration again.
func (a *application) reload() {
	a.t.Helper()
	a.ask(control.Request{Verb: control.Reload, Component: a.component})
}

// running awaits a worker of each component, and returns the last one of all
// that have some. What a worker does is to be seen before the status has the
// worker: the supervisor hears of those that an exec has started late, of many
// at once.
func (a *application) running(components ...string) map[string]control.Worker {
	a.t.Helper()
	var all map[string]control.Worker
	a.await("a worker of each component", func() error {
		all = map[string]control.Worker{}
		for _, c := range a.ask(control.Request{Verb: control.AskStatus}).Status.Components {
			for _, w := range c.Workers {
				if !dead(fmt.Sprintf("/proc/%d", w.PID)) { // of that it hears late, too
					all[c.Name] = w
				}
			}
		}
		for _, component := range components {
			if _, ok := all[component]; !ok {
				return fmt.Errorf("no worker of %s runs", component)
			}
		}
		return nil
	})
	return all
}

// worker is the one worker of the daemon.
func (a *application) worker() control.Worker {
	a.t.Helper()
	return a.running(a.component)[a.component]
}

// kill kills workers of some components, unless they have just ended.
func (a *application) kill(workers map[string]control.Worker, components ...string) {
	a.t.Helper()
	for _, component := range components {
		if err := unix.Kill(int(workers[component].PID), unix.SIGKILL); err != nil && err != unix.ESRCH {
			a.t.Errorf("kill the worker of %s: %v", component, err)
		}
	}
}

// denials checks that the daemon was refused nothing but what it does well
// without; each of those is the beginning of what was tried.
func (a *application) denials(harmless ...string) {
	a.t.Helper()
	for _, d := range a.refused() {
		if !slices.ContainsFunc(harmless, func(h string) bool { return strings.HasPrefix(d.Tried, h) }) {
			a.t.Errorf("%s was refused %s (%s, %d times); to allow it: %s", a.component, d.Tried, d.Answer, d.Count, d.Allow)
		}
	}
}

// denial waits until the application reports that something was refused.
func (a *application) denial(tried string) {
	a.t.Helper()
	a.await("the denial of "+tried, func() error {
		all := a.refused()
		if !slices.ContainsFunc(all, func(d control.Denial) bool { return strings.HasPrefix(d.Tried, tried) }) {
			return fmt.Errorf("there are only %v", all)
		}
		return nil
	})
}

func (a *application) refused() []control.Denial {
	a.t.Helper()
	return a.ask(control.Request{Verb: control.AskStatus}).Status.Denials
}

// stop ends the application as an administrator would, and checks that nothing
// of it is left.
func (a *application) stop() {
	a.t.Helper()
	if err := a.process.Process.Signal(unix.SIGTERM); err != nil {
		a.t.Fatalf("end %s: %v", a.name, err)
	}
	a.end(0)
}

// end waits for the application's end with a status.
func (a *application) end(status int) {
	a.t.Helper()
	select {
	case <-a.ended:
	case <-time.After(patience):
		a.t.Fatalf("%s has not ended after %v", a.name, patience)
	}
	if got := a.process.ProcessState.ExitCode(); got != status {
		a.t.Errorf("%s ended with status %d, not %d", a.name, got, status)
	}
	for _, left := range remains(a.t, a.name) {
		a.t.Errorf("%s left %s behind", a.name, left)
	}
}

// remains are the state directory, the cgroups and the processes of an
// application that are still there.
func remains(t *testing.T, name string) []string {
	t.Helper()
	base, err := launch.StateDirectory()
	if err != nil {
		t.Fatal(err)
	}
	hierarchy, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	places := []string{filepath.Join(base, name)}
	for _, mount := range append(mountPoints(hierarchy), hierarchy.Unified, hierarchy.Beside) {
		if mount != "" {
			places = append(places, filepath.Join(mount, cgroup.Root, name))
		}
	}
	for _, place := range places {
		if _, err := os.Lstat(place); err == nil {
			all = append(all, place)
		}
	}
	for _, file := range glob(t, "/proc/[0-9]*/cgroup") {
		b, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(b), "/"+cgroup.Root+"/"+name+"/") && !dead(filepath.Dir(file)) {
			all = append(all, "the process "+filepath.Base(filepath.Dir(file)))
		}
	}
	return all
}

// dead says of a process's directory in /proc whether it has ended and only
// its parent has not asked how.
func dead(process string) bool {
	b, err := os.ReadFile(filepath.Join(process, "stat"))
	_, state, found := strings.Cut(string(b), ") ") // proc(5)
	return err != nil || found && strings.HasPrefix(state, "Z")
}

func mountPoints(h cgroup.Hierarchy) []string {
	var all []string
	for _, mount := range h.Controllers {
		all = append(all, mount)
	}
	return all
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// freePort is a port of 127.0.0.1 that nobody uses now, for TCP and UDP.
func freePort(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		u, err := net.ListenPacket("udp", address)
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port of 127.0.0.1 is free for TCP and UDP")
	return ""
}

// directory makes a directory outside of /tmp, which compartments have their
// own of, that belongs to a user.
func directory(t *testing.T, owner string) string {
	t.Helper()
	path, err := os.MkdirTemp("/var/tmp", "bulkhead-daemons-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	give(t, path, owner)
	return path
}

func give(t *testing.T, path, owner string) {
	t.Helper()
	who, err := user.Lookup(owner)
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(who.Uid)
	gid, gidErr := strconv.Atoi(who.Gid)
	if uidErr != nil || gidErr != nil {
		t.Fatalf("the user %s has no ids", owner)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T, path, content string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// replace writes a file as editors do: a new one takes the old one's name.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Rename(file(t, path+".new", content, 0o644), path); err != nil {
		t.Fatal(err)
	}
}

// command runs a client and returns its output.
func command(name string, arguments ...string) (string, error) {
	b, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return string(b), fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, b)
	}
	return string(b), nil
}

// expect runs a client until it answers with a text.
func (a *application) expect(text, name string, arguments ...string) {
	a.t.Helper()
	a.await("answer to "+name, func() error {
		got, err := command(name, arguments...)
		if err == nil && !strings.Contains(got, text) {
			err = fmt.Errorf("%s %s said %q, without %q", name, strings.Join(arguments, " "), got, text)
		}
		return err
	})
}
