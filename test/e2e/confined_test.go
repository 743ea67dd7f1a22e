package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What docs/security.md says of the monitor's own walls, read off the kernel,
// for each of its threads.
func TestMonitorIsConfined(t *testing.T) {
	const chown, override, search, setgid, setuid, trace = 1 << 0, 1 << 1, 1 << 2, 1 << 6, 1 << 7, 1 << 19
	for _, plan := range []struct {
		name, grants, of string
		capabilities     uint64
	}{
		{"no grants", `{}`, ``, 0},
		{"a listening socket", `{door: {listen: "unix:{{DIR}}/door"}}`, `grants: [door]`, 0},
		{"a file to read", `{file: {file: "{{DIR}}/secret"}}`, `grants: [file]`, search},
		{"a file to write", `{file: {file: "{{DIR}}/secret", access: read-write}}`, `grants: [file]`, search | override},
		{"a directory to write", `{store: {directory: "{{DIR}}", access: read-write}}`, `grants: [store]`, search | override | chown},
		{"a connection", `{tcp: {connect: "tcp:127.0.0.1:{{PORT}}"}}`, `grants: [tcp]`, 0},
		{"a unix connection", `{bus: {connect: "unix:{{DIR}}/bus"}}`, `grants: [bus]`, search | override | setuid | setgid},
		{"a notify socket", `{}`, `watchdog: 1h`, override},
		{"a program that nobody may read", `{}`, `command: ["{{DIR}}/sleep", "1000"], user: root`, trace},
	} {
		t.Run(plan.name, func(t *testing.T) {
			a := New(t, "confined")
			a.File("secret", "secret")
			if err := copyProgram(a.site.Busybox, a.Dir+"/sleep"); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(a.Dir+"/sleep", 0o711); err != nil {
				t.Fatal(err)
			}
			more := plan.of
			if !strings.Contains(more, "command:") {
				more = strings.TrimPrefix(more+`, command: ["{{BUSYBOX}}", sleep, "1000"]`, ", ")
			}
			a.Write("application: {{NAME}}\ngrants: " + plan.grants + "\ncomponents:\n  web: {" + more + "}\n").Run().Ready()
			monitor := a.Of(Monitor, "")[0].Pid
			threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", monitor))
			if err != nil {
				t.Fatal(err)
			}
			for _, thread := range threads {
				dir := fmt.Sprintf("/proc/%d/task/%s", monitor, thread.Name())
				for key, want := range map[string]string{
					"CapInh:": hexadecimal(0), "CapPrm:": hexadecimal(plan.capabilities), "CapEff:": hexadecimal(plan.capabilities),
					"CapBnd:": hexadecimal(plan.capabilities), "CapAmb:": hexadecimal(0),
					"NoNewPrivs:": "1", "Seccomp:": "2", "Seccomp_filters:": "1",
				} {
					if got := strings.TrimSpace(statusLine(dir, key)); got != want {
						t.Errorf("thread %s: %s %s, want %s", thread.Name(), key, got, want)
					}
				}
			}
			for _, line := range readLines(fmt.Sprintf("/proc/%d/limits", monitor)) {
				if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
					t.Error(line)
				}
			}
			if out, err := exec.Command(a.site.Sandbox, "inspect", "--verify", a.Name).CombinedOutput(); err != nil {
				t.Errorf("inspect --verify: %v\n%s", err, out)
			}
		})
	}
}

func hexadecimal(n uint64) string { return fmt.Sprintf("%016x", n) }

// Another process of root's without capabilities may look into one that has no
// more than itself, but not into the monitor and the keeper.
func TestBrokerIsNotDumpable(t *testing.T) {
	a := New(t, "dumpable").Write(sleeper).Run().Ready()
	open := exec.Command("setpriv", "--bounding-set=-all", a.site.Busybox, "sleep", "1000")
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	defer open.Wait()
	defer open.Process.Kill()
	a.eventually("the other program runs", func() bool {
		name, _ := os.Readlink("/proc/" + itoa(open.Process.Pid) + "/exe")
		return name == a.site.Busybox
	})
	looked := make(chan error)
	pids := []int{open.Process.Pid, a.Of(Monitor, "")[0].Pid, a.Of(Keeper, "")[0].Pid}
	go func() {
		// The thread ends with its goroutine: nobody else gets it.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
		}
		for _, pid := range pids {
			_, err := os.Readlink("/proc/" + itoa(pid) + "/exe")
			looked <- err
		}
	}()
	if err := <-looked; err != nil {
		t.Errorf("of a process that is dumpable: %v", err)
	}
	for _, who := range []string{"monitor", "keeper"} {
		if err := <-looked; !os.IsPermission(err) {
			t.Errorf("of the %s: %v", who, err)
		}
	}
}

// A monitor that was taken over: the test puts calls into the one that runs,
// as code that was injected would make them. The first ends it, is named, and
// the end is a clean one.
func TestMonitorThatCallsWhatItDoesNot(t *testing.T) {
	const prot, private = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	for _, call := range []struct {
		name      string
		number    uint64
		arguments [4]uint64
	}{
		{"execve", unix.SYS_EXECVE, [4]uint64{}},
		{"fork", unix.SYS_FORK, [4]uint64{}},
		{"clone", unix.SYS_CLONE, [4]uint64{uint64(unix.SIGCHLD)}},
		{"ptrace", unix.SYS_PTRACE, [4]uint64{unix.PTRACE_ATTACH, 1}},
		{"kill", unix.SYS_KILL, [4]uint64{1}},
		{"tgkill", unix.SYS_TGKILL, [4]uint64{1, 1}},
		{"mount", unix.SYS_MOUNT, [4]uint64{}},
		{"unshare", unix.SYS_UNSHARE, [4]uint64{unix.CLONE_NEWNS}},
		{"setns", unix.SYS_SETNS, [4]uint64{0, 0}},
		{"init_module", unix.SYS_INIT_MODULE, [4]uint64{}},
		{"bpf", unix.SYS_BPF, [4]uint64{}},
		{"keyctl", unix.SYS_KEYCTL, [4]uint64{}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [4]uint64{}},
		{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, [4]uint64{1}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [4]uint64{1}},
		{"socket", unix.SYS_SOCKET, [4]uint64{unix.AF_PACKET, unix.SOCK_RAW}},
		{"socket", unix.SYS_SOCKET, [4]uint64{unix.AF_NETLINK, unix.SOCK_RAW}},
		{"ioctl", unix.SYS_IOCTL, [4]uint64{0, unix.TIOCSTI}},
		{"prctl", unix.SYS_PRCTL, [4]uint64{unix.PR_SET_DUMPABLE, 1}},
		{"mmap", unix.SYS_MMAP, [4]uint64{0, 4096, prot | unix.PROT_EXEC, private}},
		{"setresuid", unix.SYS_SETRESUID, [4]uint64{}},
		{"seccomp", unix.SYS_SECCOMP, [4]uint64{}},
	} {
		t.Run(call.name+" "+strconv.FormatUint(call.arguments[0], 16), func(t *testing.T) {
			a := New(t, "calls").Write(sleeper).Run().Ready()
			arguments := []string{"inject", itoa(a.Of(Monitor, "")[0].Pid), strconv.FormatUint(call.number, 10)}
			for _, n := range call.arguments {
				arguments = append(arguments, strconv.FormatUint(n, 10))
			}
			// By another process: this one waits for its children.
			if out, err := exec.Command(a.site.Program, arguments...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if status := a.Wait(); status != 128+int(unix.SIGKILL) {
				t.Errorf("status %d", status)
			}
			want := fmt.Sprintf("sandbox: keeper: the monitor made a system call that is none of a monitor's, and is ended: %s (%d) with %#x", call.name, call.number, call.arguments[0])
			if call.arguments[0] == 0 {
				want = strings.TrimSuffix(want, "0x0")
			}
			if !strings.Contains(a.Err.String(), want) {
				t.Errorf("%q is missing in:\n%s", want, a.Err)
			}
			a.ExpectNothingLeft(*patience)
		})
	}
}
