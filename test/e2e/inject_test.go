package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// small is an application whose start takes every step once.
const small = `
application: {{NAME}}
grants:
  door: {listen: "unix:{{DIR}}/door"}
components:
  door: {command: [{{PROGRAM}}, program, serve, door], grants: [door]}
`

// injections are the calls of a start and the error each fails with, in every
// process of the broker at its n-th call of that name. (The calls of a start
// that is not disturbed: strace -f -c sandbox run.)
var injections = []struct {
	call, err   string
	nth, nthAll []int // as usual, and with -inject
}{
	{"mkdirat", "ENOSPC", []int{1, 4}, []int{2, 3, 6, 8, 12, 16, 24, 32}},
	{"openat", "EMFILE", []int{12, 40}, []int{4, 8, 16, 24, 32, 64, 96}},
	{"openat2", "ENFILE", []int{3, 50}, []int{1, 2, 6, 12, 25, 100, 150}},
	{"mount", "ENOMEM", []int{1, 10}, []int{2, 4, 7, 14, 20, 30}},
	{"fsconfig", "ENOSPC", []int{1}, []int{2, 3, 5, 8}},
	{"socketpair", "EMFILE", []int{1, 3}, []int{2, 4, 5, 6}},
	{"socket", "ENOBUFS", []int{1}, []int{2, 3}},
	{"bind", "EADDRINUSE", []int{1}, []int{2, 3}},
	{"epoll_create1", "EMFILE", []int{1}, []int{2}},
	{"clone", "EAGAIN", []int{2, 4}, []int{1, 3, 5, 6, 8, 10}},
	{"clone3", "EAGAIN", []int{1}, []int{2, 3, 4}},
	{"execve", "ENOMEM", []int{2}, []int{1, 3}},
	{"pidfd_open", "EMFILE", []int{1}, []int{2, 3, 4}},
	{"symlinkat", "ENOSPC", []int{1}, []int{2, 5}},
	{"write", "ENOSPC", []int{8}, []int{1, 2, 3, 4, 6, 12, 20, 30}},
	{"dup3", "EMFILE", []int{1}, []int{2, 3, 6}},
	{"seccomp", "ENOMEM", []int{1}, []int{2, 3}},
	{"landlock_add_rule", "ENOMEM", []int{1}, []int{2, 6}},
	{"pipe2", "EMFILE", []int{1}, []int{2, 3, 4}},
	{"sendmsg", "ENOBUFS", []int{1}, []int{2, 3, 4}},
	{"fchownat", "EROFS", []int{1}, []int{2, 4, 8}},
}

// A system call fails at each step of a start: the start fails and says so, or
// does without; it ends, leaves nothing, and the next start works.
func TestFailingCallsAtStart(t *testing.T) {
	hits := 0
	for _, in := range injections {
		numbers := in.nth
		if *injectAll {
			numbers = append(numbers, in.nthAll...)
		}
		for _, n := range numbers {
			t.Run(fmt.Sprintf("%s %s %d", in.call, in.err, n), func(t *testing.T) {
				a := New(t, "inject").Write(small)
				if a.injected(in.call, in.err, n) {
					hits++
				}
				a.nextStartWorks()
			})
		}
	}
	if hits < len(injections)/2 && !t.Failed() {
		t.Errorf("only %d calls failed: this tests nothing", hits)
	}
}

// injected starts the application with calls that fail, sees it end, and says
// whether any call failed. With -D the broker is this process's child and
// strace is not.
func (a *Application) injected(call, err string, n int) bool {
	a.t.Helper()
	trace := filepath.Join(a.Dir, "trace")
	a.command = exec.Command("strace", "-D", "-f", "-qq", "-o", trace, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", call, err, n), a.site.Sandbox, "run", a.Policy)
	a.start()
	a.failsOrStops()
	text, _ := os.ReadFile(trace)
	return strings.Contains(string(text), "(INJECTED)")
}

// failsOrStops waits for the start to fail, with a reason, or to succeed.
func (a *Application) failsOrStops() {
	a.t.Helper()
	a.eventually("the start comes to an end", func() bool {
		return !a.running() || strings.Contains(a.Err.String(), "up after")
	})
	up := strings.Contains(a.Err.String(), "up after")
	if a.running() {
		a.Signal(unix.SIGTERM)
	}
	status := a.Wait()
	a.ExpectNothingLeft(*patience)
	said := a.Err.String()
	if up {
		return
	}
	// Who could not start at all, Go's runtime or strace, says so itself.
	reason := slices.ContainsFunc([]string{"sandbox: ", a.Policy + ":", "fatal error: ", "runtime/cgo: pthread_create failed", "strace: "},
		func(by string) bool { return strings.Contains(said, by) })
	if status == 0 || !reason || strings.Contains(said, "panic: ") || saidTwice(said) != "" {
		a.t.Errorf("a start that failed ended with status %d and said:\n%s", status, said)
	}
}

func (a *Application) nextStartWorks() {
	a.t.Helper()
	if a.t.Failed() {
		return
	}
	a.Run().Ready()
	if status := a.Stop(); status != 0 {
		a.t.Errorf("the next start ended with status %d", status)
	}
}

// Out of descriptors, at each number of them.
func TestOutOfDescriptorsAtStart(t *testing.T) {
	for _, limit := range []int{8, 12, 16, 20, 24, 32, 48} {
		t.Run(itoa(limit), func(t *testing.T) {
			a := New(t, "nofile").Write(small)
			a.command = exec.Command("prlimit", fmt.Sprintf("--nofile=%d:%d", limit, limit), a.site.Sandbox, "run", a.Policy)
			a.start()
			a.failsOrStops()
			a.nextStartWorks()
		})
	}
}

// The disk below /run/sandbox is full: a file system of its own, in a mount
// namespace of its own, with room for so many files.
func TestFullDiskAtStart(t *testing.T) {
	for _, inodes := range []int{2, 3, 5, 9, 17} {
		t.Run(itoa(inodes), func(t *testing.T) {
			a := New(t, "full").Write(small)
			a.command = exec.Command("sh", "-c", `mount -t tmpfs -o mode=755,nr_inodes="$1" full /run/sandbox && exec "$2" run "$3"`,
				"sh", itoa(inodes), a.site.Sandbox, a.Policy)
			a.command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			a.start()
			a.failsOrStops()
			a.nextStartWorks()
		})
	}
}

// Out of processes: a cgroup with room for so many of them.
func TestOutOfProcessesAtStart(t *testing.T) {
	pids := "/sys/fs/cgroup/pids" // of v1; else v2's
	if _, err := os.Stat(pids + "/cgroup.procs"); err != nil {
		pids = "/sys/fs/cgroup"
	}
	for _, limit := range []int{2, 6, 10, 16, 24} {
		t.Run(itoa(limit), func(t *testing.T) {
			a := New(t, "pids").Write(small)
			group := fmt.Sprintf("%s/e2e-limit-%d", pids, os.Getpid())
			if err := os.Mkdir(group, 0o755); err != nil {
				t.Fatal(err)
			}
			defer func() {
				a.eventually("the limiting group is empty", func() bool { return os.Remove(group) == nil })
			}()
			if err := os.WriteFile(group+"/pids.max", []byte(itoa(limit)), 0); err != nil {
				t.Fatal(err)
			}
			a.command = exec.Command("sh", "-c", `echo $$ > "$1"/cgroup.procs && exec "$2" run "$3"`, "sh", group, a.site.Sandbox, a.Policy)
			a.start()
			a.failsOrStops()
			a.nextStartWorks()
		})
	}
}
