package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root; the virtual machine runs it always (make test-vm)")
	}
}

func inspector(t *testing.T) *Inspector {
	t.Helper()
	i, err := New("/run/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// waiting starts a command whose last step is cat, which waits for the end of
// its input, and returns cat's pid.
func waiting(t *testing.T, files []*os.File, command ...string) int {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("%s is not installed; test/packages.txt names its package", command[0])
	}
	c := exec.Command(command[0], command[1:]...)
	c.ExtraFiles = files
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		c.Process.Kill()
		c.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pid := deepest(c.Process.Pid)
		if name, _ := os.ReadFile(procPath(pid, "comm")); string(name) == "cat\n" {
			return pid
		}
	}
	t.Fatalf("%v did not get as far as cat: %s", command, stderr.String())
	return 0
}

// deepest follows first children down. Any thread may have made them.
func deepest(pid int) int {
	for {
		tasks, _ := filepath.Glob(procPath(pid, "task/*/children"))
		var child int
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			if n, _ := fmt.Sscan(string(b), &child); n == 1 {
				break
			}
		}
		if child == 0 {
			return pid
		}
		pid = child
	}
}

func up(p *Process) []string {
	var names []string
	for _, w := range p.Walls {
		if w.Up && !strings.HasSuffix(w.Name, "limit") {
			names = append(names, w.Name)
		}
	}
	return names
}

// Walls that others built, each alone and known.
func TestWallsOfOthers(t *testing.T) {
	needRoot(t)
	i := inspector(t)
	for _, c := range []struct {
		name    string
		command []string
		walls   []string
	}{
		{"none", nil, nil},
		{"unshare user", []string{"unshare", "--user", "--map-root-user"}, []string{"user namespace"}},
		{"unshare mount", []string{"unshare", "--mount"}, []string{"mnt namespace"}},
		{"unshare pid", []string{"unshare", "--pid", "--fork"}, []string{"pid namespace"}},
		{"unshare net", []string{"unshare", "--net"}, []string{"net namespace"}},
		{"unshare ipc", []string{"unshare", "--ipc"}, []string{"ipc namespace"}},
		{"unshare uts", []string{"unshare", "--uts"}, []string{"uts namespace"}},
		{"unshare cgroup", []string{"unshare", "--cgroup"}, []string{"cgroup namespace"}},
		{"setpriv nnp", []string{"setpriv", "--no-new-privs"}, []string{"no-new-privileges"}},
		{"setpriv user", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, []string{"identity", "capabilities"}},
		{"bwrap", []string{"bwrap", "--unshare-all", "--ro-bind", "/", "/", "--uid", "1000"}, []string{"user namespace", "mnt namespace", "pid namespace", "net namespace", "ipc namespace", "uts namespace", "cgroup namespace", "capabilities", "no-new-privileges"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pid := waiting(t, nil, append(slices.Clone(c.command), "cat")...)
			r, err := i.Process(pid)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Process.Unseen) > 0 {
				t.Errorf("not seen: %v", r.Process.Unseen)
			}
			if got := up(r.Process); !slices.Equal(got, c.walls) {
				t.Errorf("walls %v, want %v", got, c.walls)
			}
		})
	}
}

// The filter that another sandbox loads is read back byte by byte.
func TestFilterReadBack(t *testing.T) {
	needRoot(t)
	program := compiled(t, plan.Syscalls{Default: plan.Allow, Rules: []plan.Rule{
		{Call: "ptrace", Action: plan.Kill}, {Call: "mount", Action: plan.Errno, Errno: int32(unix.EPERM)},
	}})
	path := filepath.Join(t.TempDir(), "filter")
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pid := waiting(t, []*os.File{file}, "bwrap", "--ro-bind", "/", "/", "--seccomp", "3", "cat")
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Process.Seccomp
	if s.Mode != "filter" || len(s.Filters) != 1 || !bytes.Equal(s.Filters[0].Program, program) {
		t.Fatalf("mode %s, %d filters, %v; want the one that was loaded", s.Mode, len(s.Filters), r.Process.Unseen)
	}
	if s.Calls.allowed("ptrace") || s.Calls.allowed("mount") || !s.Calls.allowed("read") {
		t.Errorf("what is allowed is not what was loaded: %+v", s.Calls)
	}
	// It goes on as before: asleep, once it has started its call anew.
	state := ""
	for deadline := time.Now().Add(10 * time.Second); state != "S" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, _ := os.ReadFile(procPath(pid, "stat"))
		if fields := strings.Fields(string(b)); len(fields) > 2 {
			state = fields[2]
		}
	}
	if state != "S" {
		t.Errorf("the process is in state %q afterwards, want S", state)
	}
	if status, _ := os.ReadFile(procPath(pid, "status")); !strings.Contains(string(status), "TracerPid:\t0\n") {
		t.Error("the process is still traced")
	}
}

func TestDescriptorsOfOthers(t *testing.T) {
	needRoot(t)
	directory := t.TempDir()
	place, err := os.Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.FcntlInt(uintptr(listener), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(copied), "listener")
	defer socket.Close()
	// In a network of its own: the socket stays in the one it was made in.
	pid := waiting(t, []*os.File{place, socket}, "unshare", "--net", "--mount", "cat")
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	byNumber := map[int]Descriptor{}
	for _, d := range r.Process.Descriptors {
		byNumber[d.Number] = d
	}
	if d := byNumber[3]; d.Kind != "directory" || d.Object != directory || !d.Outside || d.Access != "read" {
		t.Errorf("descriptor 3: %+v", d)
	}
	want := fmt.Sprintf("tcp:127.0.0.1:%d", address.(*unix.SockaddrInet4).Port)
	if s := byNumber[4].Socket; s == nil || !s.Listening || s.Local != want || !s.Host {
		t.Errorf("descriptor 4: %+v, want a socket of the host that listens on %s", s, want)
	}
	if d := byNumber[0]; d.Kind != "pipe" || d.Access != "read" {
		t.Errorf("descriptor 0: %+v", d)
	}
}

func TestProcessThatIsNone(t *testing.T) {
	i := inspector(t)
	if _, err := i.Process(1 << 22); err == nil || !strings.Contains(err.Error(), "there is no process") {
		t.Errorf("got %v", err)
	}
}

// A thread of the kernel's has no program, no memory and no descriptors.
func TestKernelThread(t *testing.T) {
	needRoot(t)
	if name, _ := os.ReadFile("/proc/2/comm"); string(name) != "kthreadd\n" {
		t.Skip("process 2 is not the kernel's: this is a pid namespace")
	}
	r, err := inspector(t).Process(2)
	if err != nil {
		t.Fatal(err)
	}
	if r.Process.Executable != "[kthreadd]" {
		t.Errorf("it executes %q, not seen: %v", r.Process.Executable, r.Process.Unseen)
	}
}

func TestEnvironmentNamesOnly(t *testing.T) {
	needRoot(t)
	t.Setenv("BULKHEAD_TEST_SECRET", "hunter2")
	pid := waiting(t, nil, "cat")
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(r.Process.Environment, "BULKHEAD_TEST_SECRET") {
		t.Errorf("the name is not there: %v", r.Process.Environment)
	}
	if strings.Contains(ProcessDetails(r, false), "hunter2") || strings.Contains(strings.Join(r.Process.Environment, " "), "hunter2") {
		t.Error("a value of the environment is shown")
	}
}

// A container of runc's with a filter, limits, a read-only root and a user: what
// was asked for is what is found.
func TestWallsOfRunc(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"runc", "/bin/busybox"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed; test/probes/packages.txt names its package", name)
		}
	}
	bundle := t.TempDir()
	root := filepath.Join(bundle, "rootfs")
	for _, place := range []string{"bin", "proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/bin/cat", busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("runc", "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v\n%s", err, out)
	}
	text, err := os.ReadFile(bundle + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	process, linux := config["process"].(object), config["linux"].(object)
	process["args"], process["terminal"] = []string{"/bin/cat"}, false
	process["user"] = object{"uid": 1234, "gid": 2345}
	process["capabilities"] = object{"bounding": []string{"CAP_KILL"}}
	process["rlimits"] = []object{{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}}
	var spaces []object
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount", "cgroup"} {
		spaces = append(spaces, object{"type": kind})
	}
	linux["namespaces"] = spaces
	linux["resources"] = object{"memory": object{"limit": 64 << 20}, "pids": object{"limit": 10}}
	linux["seccomp"] = object{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []object{
		{"names": []string{"mount", "ptrace"}, "action": "SCMP_ACT_ERRNO"}, {"names": []string{"reboot"}, "action": "SCMP_ACT_KILL_PROCESS"},
	}}
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/config.json", text, 0o644); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("inspect-test-%d", os.Getpid())
	t.Cleanup(func() { exec.Command("runc", "--root", bundle+"/state", "delete", "--force", name).Run() })
	pid := waiting(t, nil, "runc", "--root", bundle+"/state", "run", "--bundle", bundle, name)
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	p := r.Process
	if len(p.Unseen) > 0 {
		t.Errorf("not seen: %v", p.Unseen)
	}
	want := []string{
		"mnt namespace", "pid namespace", "net namespace", "ipc namespace", "uts namespace", "cgroup namespace",
		"identity", "capabilities", "no-new-privileges", "system calls",
	}
	if got := up(p); !slices.Equal(got, want) {
		t.Errorf("walls %v, want %v", got, want)
	}
	if p.Identity.UIDs[1] != 1234 || p.Identity.GIDs[1] != 2345 {
		t.Errorf("it is %+v", p.Identity)
	}
	if c := p.Capabilities; !slices.Equal(c.Bounding, []string{"CAP_KILL"}) || len(c.Permitted)+len(c.Effective)+len(c.Inheritable)+len(c.Ambient) > 0 {
		t.Errorf("capabilities %+v, want CAP_KILL in the bounding set alone", c)
	}
	calls := p.Seccomp.Calls
	if calls == nil || calls.allowed("mount") || calls.allowed("ptrace") || calls.allowed("reboot") || !calls.allowed("read") {
		t.Fatalf("the filter is %+v", calls)
	}
	for call, action := range map[string]string{"mount": "errno EPERM", "ptrace": "errno EPERM", "reboot": "kill"} {
		if !slices.ContainsFunc(calls.Calls, func(r CallRule) bool { return r.Call == call && r.Action == action }) {
			t.Errorf("%s is not answered with %s: %+v", call, action, calls.Calls)
		}
	}
	if p.Cgroup.Memory.Limit != 64<<20 || p.Cgroup.Tasks.Limit != 10 {
		t.Errorf("cgroup %+v, want 64 MiB and 10 tasks", p.Cgroup)
	}
	if slices.Contains(p.Writable, "/") || slices.Contains(p.Both, "/") {
		t.Errorf("its root is read-only; writable are %v", p.Writable)
	}
	if !slices.Contains(p.Rlimits, Rlimit{"open files", 77, 99}) {
		t.Errorf("limits %+v, want 77 and 99 open files", p.Rlimits)
	}
}

// Id maps that were made by hand are those that are found.
func TestIDMapsOfOthers(t *testing.T) {
	needRoot(t)
	pid := waiting(t, nil, "unshare", "--user", "cat")
	for file, line := range map[string]string{"uid_map": "0 100000 1\n7 100007 3\n", "gid_map": "8 200000 2\n"} {
		if err := os.WriteFile(procPath(pid, file), []byte(line), 0); err != nil {
			t.Fatal(err)
		}
	}
	r, err := inspector(t).Process(pid)
	if err != nil {
		t.Fatal(err)
	}
	i := r.Process.Identity
	if !slices.Equal(i.UIDMap, []IDRange{{0, 100000, 1}, {7, 100007, 3}}) || !slices.Equal(i.GIDMap, []IDRange{{8, 200000, 2}}) {
		t.Errorf("%+v", i)
	}
}

var overall = regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+) ([A-Z]+)`)

// The words and bounds are those of systemd-analyze security, and a process
// without walls is as bad here as a unit without settings there.
func TestExposureAsSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze to compare with")
	}
	directory := t.TempDir()
	settings := []string{
		"", "PrivateNetwork=yes", "User=daemon", "ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "PrivateUsers=yes",
		"SystemCallFilter=@system-service", "SystemCallArchitectures=native", "RestrictNamespaces=yes", "PrivateDevices=yes", "IPAddressDeny=any",
		"RestrictAddressFamilies=AF_UNIX", "ProtectHome=yes", "ProtectKernelModules=yes\nProtectKernelTunables=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\nProtectClock=yes",
	}
	words := map[string]bool{}
	unit := "[Service]\nExecStart=/bin/true\n"
	for k, setting := range settings {
		unit += setting + "\n"
		file := filepath.Join(directory, fmt.Sprintf("compared%d.service", k))
		if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", file).CombinedOutput()
		said := overall.FindSubmatch(out)
		if said == nil {
			t.Fatalf("systemd-analyze says nothing that is understood: %v\n%s", err, out)
		}
		figure, err := strconv.ParseFloat(string(said[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		word := strings.ToLower(string(said[2]))
		words[word] = true
		if got := exposureWord(figure); got != word {
			t.Errorf("%.1f is %s, and %s for systemd", figure, got, word)
		}
		if k > 0 || os.Geteuid() != 0 {
			continue
		}
		r, err := inspector(t).Process(waiting(t, nil, "cat"))
		if err != nil {
			t.Fatal(err)
		}
		if mine := r.Process.Exposure.Figure; math.Abs(mine-figure) > 0.5 {
			t.Errorf("a process without walls is %.1f, a unit without settings %.1f", mine, figure)
		}
	}
	if len(words) < 4 {
		t.Errorf("only %v were compared", words)
	}
}
