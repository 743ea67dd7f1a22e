package launch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is, where install has put it, a launcher, with a command and the builder
// that it would execute as its arguments.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sandbox" {
		b := earlyBuilder(os.Args[2])
		if b == nil {
			fmt.Println("none")
			os.Exit(0)
		}
		flags, err := unix.FcntlInt(uintptr(b.socket), unix.F_GETFD, 0)
		fmt.Println("closes on exec:", err == nil && flags&unix.FD_CLOEXEC != 0)
		io.Copy(io.Discard, os.NewFile(uintptr(b.socket), "builder")) // until it has reported and ended
		await(b.pid)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reporter is a builder that writes down what it was started with.
const reporter = `#!/bin/busybox sh
at=/proc/$$
report=$(echo "$*"; /bin/busybox tr '\0' ' ' < $at/environ; echo; pwd
	for fd in 0 1 3 9; do /bin/busybox readlink $at/fd/$fd; done)
echo "$report" > "$1/report"
`

// install puts this program and its builder where a checkout or an installation has them.
func install(t *testing.T, program, libexec string) (launcher, builder string) {
	t.Helper()
	at := t.TempDir()
	launcher, builder = filepath.Join(at, program), filepath.Join(at, libexec, "builder")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{launcher: self, builder: []byte(reporter)} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return launcher, builder
}

func TestEarlyBuilder(t *testing.T) {
	for name, at := range map[string]struct{ program, libexec string }{
		"checkout":     {"bin/sandbox", "bin/libexec"},
		"installation": {"usr/bin/sandbox", "usr/libexec/sandbox"},
	} {
		t.Run(name, func(t *testing.T) {
			launcher, builder := install(t, at.program, at.libexec)
			launch := exec.Command(launcher, "wrap", builder)
			launch.ExtraFiles = slices.Repeat([]*os.File{os.Stdin}, 7) // as a service manager's sockets: 3 to 9
			said, err := launch.CombinedOutput()
			if err != nil || string(said) != "closes on exec: true\n" {
				t.Fatalf("%v, %s", err, said)
			}
			report, err := os.ReadFile(filepath.Join(filepath.Dir(builder), "report"))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(report), "\n")
			want := []string{filepath.Dir(builder), "GOMAXPROCS=1 ", "/", "/dev/null", "/dev/null"}
			if len(lines) != 7 || !slices.Equal(lines[:5], want) || !strings.HasPrefix(lines[5], "socket:") {
				t.Errorf("the builder was started with\n%swant\n%s", report, strings.Join(want, "\n"))
			}
		})
	}
}

// TestEarlyBuilderOfAnother: what another launcher would execute is not used.
func TestEarlyBuilderOfAnother(t *testing.T) {
	launcher, _ := install(t, "bin/sandbox", "bin/libexec")
	said, err := exec.Command(launcher, "wrap", "/usr/libexec/sandbox/builder").CombinedOutput()
	if err != nil || string(said) != "none\n" {
		t.Errorf("%v, %s", err, said)
	}
}

// TestNoEarlyBuilder: other commands start none, and no socket stands where a standard
// descriptor is missing.
func TestNoEarlyBuilder(t *testing.T) {
	launcher, builder := install(t, "bin/sandbox", "bin/libexec")
	report := filepath.Join(filepath.Dir(builder), "report")
	for name, command := range map[string]string{
		"another command": `exec "$0" check "$1"`,
		"no input":        `exec "$0" wrap "$1" <&-`,
		"no errors":       `exec "$0" wrap "$1" 2>&-`,
		"no room":         `ulimit -n 64; exec "$0" wrap "$1"`,
	} {
		t.Run(name, func(t *testing.T) {
			said, err := exec.Command("/bin/sh", "-c", command, launcher, builder).CombinedOutput()
			if err != nil {
				t.Fatalf("%v, %s", err, said)
			}
			time.Sleep(50 * time.Millisecond) // one that was started and is not waited for
			if text, err := os.ReadFile(report); err == nil {
				t.Errorf("a builder was started:\n%s", text)
			}
		})
	}
}

// TestAway: a descriptor that this program opened is none that somebody passed.
func TestAway(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], 0); err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(ends[0])
	if fd, err := away(ends[0]); err != unix.EBADF {
		t.Errorf("descriptor %d of its own: %d, %v", ends[0], fd, err)
	}
	fd, err := away(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the copy: flags %#x, %v", flags, err)
	}
	unix.Close(ends[0])
	unix.Close(fd)
}
