package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
	"bulkhead/sandbox/cgroup"
	"bulkhead/sandbox/worker"
)

func testInit(t testing.TB) string {
	path, err := filepath.Abs("../bin/libexec/init")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the init of compartments is not built (run make build): %v", err)
	}
	return path
}

func TestCreate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("compartments of an ordinary user are not supported yet: they need a delegated cgroup as their base")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	c := plan.Component{
		Name: "test", Program: "/bin/busybox", Arguments: []string{"busybox", "sh", "-c", "id; ls -l / /proc /dev; cat /proc/self/status | grep -E 'Cap|Secc|NoNew'; cat /proc/self/cgroup; mount; exit 7"},
		Directory: "/", Umask: 0o77, User: plan.User{UID: 1000, GID: 1000},
		Hosts: plan.HostIDs{Init: 1900000000, UID: 1900000001, GID: 1900000001}, Proc: plan.ProcOwn, Hostname: "test",
		Root: []plan.Entry{
			{Kind: plan.EntryBind, Source: busybox, Target: "/bin/busybox", Access: plan.Read | plan.Execute},
			{Kind: plan.EntryDevice, Source: "/dev/null", Target: "/dev/null", Access: plan.Read | plan.Write},
			{Kind: plan.EntryTemporary, Target: "/tmp", Size: 1 << 20, Mode: 0o1777},
		},
		Syscalls: plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{{Call: "ptrace", Action: plan.Refuse}}},
		Limits:   plan.Limits{Memory: 64 << 20, Processes: 10, OpenFiles: 64},
	}
	p := &plan.Plan{Application: "create-test", Components: []plan.Component{c}}
	if err := CompileFilters(p); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	t0 := time.Now()
	made, err := Create(Site{"create-test", dir, testInit(t), os.Stderr}, &p.Components[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Log("create", time.Since(t0))
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	g, err := cgroup.Open(h, Group("create-test", "test"), c.Limits)
	if err != nil {
		t.Fatal(err)
	}
	wait := func(fd int) worker.Message {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		m, err := worker.Receive(fd)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v %v", m, time.Since(t0))
		return m
	}
	for i := range 5 {
		t0 = time.Now()
		l, err := g.NewLeaf("w1", c.Limits)
		if err != nil {
			t.Fatal(err)
		}
		pair, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err := worker.Spawn(made.Control, 1, pair[1], l.Procs); err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[1])
		out := os.Stdout
		if i > 0 {
			out, _ = os.Open("/dev/null")
		}
		worker.Go(pair[0], []worker.Passed{{FD: int(out.Fd()), Number: 1}, {FD: 2, Number: 2}}, []string{"A=b"}, nil)
		wait(made.Control)
		wait(pair[0])
		wait(pair[0])
		t.Log(time.Since(t0))
		l.CloseProcs()
		for l.Remove() == unix.EBUSY {
			time.Sleep(time.Millisecond)
		}
	}
	unix.Close(made.Control)
}
