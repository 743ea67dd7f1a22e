package compartment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/worker"
)

// built is a compartment with busybox in it, for whoever runs the test.
type built struct {
	*testing.T
	component *plan.Component
	made      *Compartment
	group     *cgroup.Group
}

func newBuilt(t *testing.T, change func(*plan.Component)) *built {
	t.Helper()
	return newBuiltBy(t, Create, change)
}

// creator is one of the two ways to build a compartment.
type creator func(Site, *plan.Component) (*Compartment, error)

func newBuiltBy(t *testing.T, create creator, change func(*plan.Component)) *built {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if errors.Is(err, cgroup.ErrNone) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	initPath, err := filepath.Abs("../../bin/libexec/init")
	must(err)
	if _, err := os.Stat(initPath); err != nil {
		t.Fatalf("the init of compartments is not built (run make build): %v", err)
	}
	busybox, err := exec.LookPath("busybox")
	must(err)
	hierarchy, err := cgroup.Find()
	must(err)
	base, err := hierarchy.Base()
	must(err)
	must(hierarchy.Leave(base))
	application := fmt.Sprintf("create-test-%d", os.Getpid())
	group := cgroup.Application(base, application)

	c := plan.Component{
		Name: "test", Program: "/bin/busybox", Arguments: []string{"busybox"}, Directory: "/", Umask: 0o77, Hostname: "compartment",
		User:  plan.User{UID: 1000, GID: 1000},
		Hosts: plan.HostIDs{Init: 1900000000, InitGroup: 1900000000, UID: 1900000001, GID: 1900000002},
		Proc:  plan.ProcOwn,
		Root: []plan.Entry{
			{Kind: plan.EntryBind, Source: busybox, Target: "/bin/busybox", Access: plan.Read | plan.Execute},
			{Kind: plan.EntryDevice, Source: "/dev/null", Target: "/dev/null", Access: plan.Read | plan.Write},
			{Kind: plan.EntryTemporary, Target: "/tmp", Size: 1 << 20, Mode: 0o700},
		},
		Syscalls: plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{{Call: "ptrace", Action: plan.Errno, Errno: int32(unix.EPERM)}}},
		Limits:   plan.Limits{Memory: 64 << 20, Processes: 10, OpenFiles: 64},
	}
	if os.Geteuid() != 0 {
		c.User = plan.User{}
		c.Hosts = plan.HostIDs{Init: uint32(os.Getuid()), InitGroup: uint32(os.Getgid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	}
	if change != nil {
		change(&c)
	}
	p := &plan.Plan{Application: application, Components: []plan.Component{c}}
	must(sandbox.CompileFilters(p))
	site := Site{Application: application, Directory: reachable(t), Group: group, Init: initPath, Messages: os.Stderr}
	made, err := create(site, &p.Components[0])
	must(err)
	b := &built{T: t, component: &p.Components[0], made: made}
	t.Cleanup(func() { b.remove(hierarchy, group) })
	b.group, err = cgroup.Open(hierarchy, group+"/test", c.Limits, 1)
	must(err)
	return b
}

// reachable is not t.TempDir: a compartment's root must be reachable for its user.
func reachable(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "create-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	return directory
}

// remove ends the compartment, which is its init's socket closing, and removes
// what the sweeper would.
func (b *built) remove(hierarchy cgroup.Hierarchy, group string) {
	unix.Close(b.made.Control)
	ended := []unix.PollFd{{Fd: int32(b.made.Pidfd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(ended, 10000); n != 1 {
		b.Error("the init lives on without the monitor")
	}
	unix.Wait4(b.made.Pid, nil, 0, nil)
	for _, directory := range hierarchy.Directories(group) {
		for _, part := range []string{"test/init", "test", "", ".."} {
			for range 100 {
				if err := unix.Rmdir(filepath.Join(directory, part)); err != unix.EBUSY || part == ".." {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		if _, err := os.Stat(directory); err == nil {
			b.Errorf("the cgroup %s is left", directory)
		}
	}
}

func (b *built) hear(socket int) worker.Message {
	b.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}, 30000); n != 1 {
		b.Fatalf("an init says nothing: %v", err)
	}
	said, err := worker.Receive(socket)
	if err != nil {
		b.Fatal(err)
	}
	return said
}

// waiting is a worker that waits for its orders.
type waiting struct {
	*built
	leaf   *cgroup.Leaf
	socket int
	init   int // pidfd
}

// prepare makes a worker up to where it waits for its orders.
func (b *built) prepare() *waiting {
	b.Helper()
	leaf, err := b.group.NewLeaf("w1", b.component.Limits)
	if err != nil {
		b.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(pair[1])
	if err := worker.Spawn(b.made.Control, 1, false, pair[1], leaf.Procs); err != nil {
		b.Fatal(err)
	}
	spawned := b.hear(b.made.Control)
	if spawned.Kind != worker.Spawned || spawned.Errno != 0 {
		b.Fatalf("the init did not fork a worker: %+v", spawned)
	}
	return &waiting{b, leaf, pair[0], spawned.Init}
}

// end removes what a worker that has ended leaves.
func (w *waiting) end() {
	unix.Close(w.socket)
	unix.Close(w.init)
	defer w.leaf.Close()
	for range 1000 {
		if w.leaf.Remove() == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.Error("the worker's cgroup stays busy")
}

// run runs busybox with a script in a worker and returns what it wrote and how
// it ended.
func (b *built) run(script string) (string, worker.Message) {
	b.Helper()
	w := b.prepare()
	defer w.end()
	return w.run(script)
}

func (w *waiting) run(script string) (string, worker.Message) {
	w.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		w.Fatal(err)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer null.Close()
	passed := []worker.Passed{{FD: int(null.Fd()), Number: 0}, {FD: int(write.Fd()), Number: 1}, {FD: int(write.Fd()), Number: 2}}
	for number := 3; number < 8; number++ { // where a worker's own descriptors might be
		passed = append(passed, worker.Passed{FD: int(null.Fd()), Number: number})
	}
	// One that has ended has said why, which is there to be read.
	if err := worker.Go(w.socket, passed, []string{"GIVEN=yes"}, []string{"/bin/busybox", "sh", "-c", script}, nil); err != nil && err != worker.ErrEnded {
		w.Fatal(err)
	}
	write.Close()
	said := w.hear(w.socket)
	if said.Kind == worker.Started {
		defer unix.Close(said.Program)
		defer unix.Close(said.Listener)
		if is, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", said.Listener)); is != "anon_inode:seccomp notify" {
			w.Errorf("the filter's listener is %q", is)
		}
		said = w.hear(w.socket)
	}
	output, err := io.ReadAll(read)
	read.Close()
	if err != nil {
		w.Fatal(err)
	}
	return string(output), said
}

func TestWallsOfAWorker(t *testing.T) {
	b := newBuilt(t, nil)
	output, said := b.run(`
cd /; echo root: *
echo proc: /proc/[0-9]*
echo pid: $$
echo host: $(hostname)
echo given: $GIVEN
cat /proc/self/status
cat /proc/self/cgroup
echo x > /tmp/mine && echo temporary: written
echo x > /bin/busybox || echo program: read-only
echo x > /new || echo root: read-only
echo files: $(ulimit -n)
exit 7`)
	if said.Kind != worker.Ended || !said.Status.Exited() || said.Status.ExitStatus() != 7 {
		t.Errorf("it ended as %+v", said)
	}
	for _, want := range []string{
		"root: bin dev proc run tmp\n", "proc: /proc/1 /proc/2\n", "pid: 2\n", "host: compartment\n", "given: yes\n",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "Seccomp:\t2", "0::/\n", "temporary: written", "program: read-only", "root: read-only", "files: 64\n",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(output)
	}
}

// Nothing of one worker is there for the next.
func TestWorkersShareNothing(t *testing.T) {
	b := newBuilt(t, nil)
	if output, said := b.run("echo x > /tmp/left && (sleep 100 &) && echo done"); output != "done\n" || said.Status != 0 {
		t.Fatalf("the first wrote %q and ended as %+v", output, said)
	}
	if output, _ := b.run("ls -A /tmp; echo processes: /proc/[0-9]*"); output != "processes: /proc/1 /proc/2\n" {
		t.Errorf("the second finds %q", output)
	}
}

func TestProgramThatCannotRun(t *testing.T) {
	b := newBuilt(t, func(c *plan.Component) { c.Directory = "/nowhere" })
	if _, said := b.run("true"); said.Kind != worker.Failed || said.Errno != unix.ENOENT || said.Step != "change to the working directory" {
		t.Errorf("without its working directory: %+v", said)
	}
}

// A wall that cannot be built stops the start and leaves nothing.
func TestCreateUndoesItself(t *testing.T) {
	for name, create := range map[string]creator{"component": Create, "own": CreateOwn} {
		t.Run(name, func(t *testing.T) {
			undone(t, create, "/nonexistent", func(c *plan.Component) {
				c.Root = []plan.Entry{{Kind: plan.EntryBind, Source: "/nonexistent", Target: "/bin/busybox"}}
			})
		})
	}
}

// undone makes a compartment that cannot be made, and looks for what is left.
func undone(t *testing.T, create creator, why string, change func(*plan.Component)) {
	t.Helper()
	c := plan.Component{
		Name: "test", Program: "/bin/busybox", Arguments: []string{"busybox"}, Directory: "/",
		Hosts:    plan.HostIDs{Init: uint32(os.Getuid()), InitGroup: uint32(os.Getgid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
		Syscalls: plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{{Call: "ptrace", Action: plan.Refuse}}},
	}
	change(&c)
	p := &plan.Plan{Application: "create-test-undo", Components: []plan.Component{c}}
	if err := sandbox.CompileFilters(p); err != nil {
		t.Fatal(err)
	}
	hierarchy, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	base, err := hierarchy.Base()
	if errors.Is(err, cgroup.ErrNone) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	initPath, err := filepath.Abs("../../bin/libexec/init")
	if err != nil {
		t.Fatal(err)
	}
	group := cgroup.Application(base, "create-test-undo")
	_, err = create(Site{Application: "create-test-undo", Directory: reachable(t), Group: group, Init: initPath, Messages: os.Stderr}, &p.Components[0])
	if err == nil || !strings.Contains(err.Error(), `component "test"`) || !strings.Contains(err.Error(), why) {
		t.Errorf("the error is %v", err)
	}
	// Groups are the sweeper's to remove, and have nobody in them.
	for _, directory := range hierarchy.Directories(group) {
		for _, part := range []string{"test/init", "test", ""} {
			os.Remove(filepath.Join(directory, part))
		}
		if _, err := os.Stat(directory); err == nil {
			t.Errorf("the cgroup %s is left", directory)
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a process is left: %v", err)
	}
}
