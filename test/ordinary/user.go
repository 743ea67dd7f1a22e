// Package ordinary runs the built bin/sandbox as a user without privileges: what works, and with
// which words the rest is refused.
//
// Applications need a delegated group of cgroup v2. Where this user has none, as on a machine of
// cgroup v1, the tests that start one are skipped; the virtual machine has one (make test-vm).
// Started by root, the tests run sandbox as the user games, whom every Debian has and to whom
// nothing belongs.
package ordinary

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/sandbox/cgroup"
)

var (
	binDirectory = flag.String("bin", "../../bin", "the `directory` that make build fills")
	patience     = flag.Duration("patience", time.Minute, "how long what must come about by itself may take")
	update       = flag.Bool("update", false, "write the table of docs/policy.md")
)

// User is who runs sandbox, with a directory of his own and a copy of the programs.
type User struct {
	UID, GID uint32
	Dir      string // his, with a state directory in it
	Sandbox  string

	t *testing.T
}

// New makes a directory for an ordinary user.
func New(t *testing.T) *User {
	t.Helper()
	u := &User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), t: t}
	if u.UID == 0 {
		games, err := user.Lookup("games")
		if err != nil {
			t.Fatal(err)
		}
		u.UID, u.GID = number(t, games.Uid), number(t, games.Gid)
	}
	dir, err := os.MkdirTemp("/var/tmp", "ordinary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	u.Dir = dir
	for _, directory := range []string{u.Dir, u.Dir + "/run", u.Dir + "/bin", u.Dir + "/bin/libexec"} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		u.own(directory)
	}
	if err := os.Chmod(u.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(*binDirectory, "libexec", "*"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"sandbox"}
	for _, program := range programs {
		names = append(names, "libexec/"+filepath.Base(program))
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(*binDirectory, name))
		if err != nil {
			t.Fatalf("these tests run what `make build` makes: %v", err)
		}
		if err := os.WriteFile(u.Dir+"/bin/"+name, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	u.Sandbox = u.Dir + "/bin/sandbox"
	return u
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func (u *User) own(path string) {
	u.t.Helper()
	if os.Geteuid() == 0 {
		if err := os.Chown(path, int(u.UID), int(u.GID)); err != nil {
			u.t.Fatal(err)
		}
	}
}

// hasGroup says whether applications can be started: a group of cgroup v2 is delegated to this user.
func hasGroup() error {
	h, err := cgroup.Find()
	if err == nil {
		_, err = h.Base()
	}
	return err
}

// needsGroup skips a test that starts an application where none can be.
func needsGroup(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root plays the ordinary user here, to whom no group is delegated: the virtual machine has one (make test-vm)")
	}
	if err := hasGroup(); err != nil {
		t.Skipf("no application can be started here: %v: the virtual machine has a group (make test-vm)", err)
	}
}

// ids says whether the user may give ids to others: a range, and the programs that map it.
func (u *User) ids() error {
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		known, err := user.LookupId(strconv.Itoa(int(u.UID)))
		if err != nil {
			return err
		}
		if !strings.Contains("\n"+string(b), "\n"+known.Username+":") {
			return fmt.Errorf("%s has no line of %s's", file, known.Username)
		}
	}
	_, err := os.Stat("/usr/bin/newuidmap")
	return err
}

// Without runs sandbox to its end where newuidmap gets no rights.
func (u *User) Without(arguments ...string) (status int, said string) {
	u.t.Helper()
	return u.run(func(ctx context.Context) *exec.Cmd {
		command := u.Command(ctx, arguments...)
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			u.t.Fatal(err)
		}
		command.Path, command.Args = setpriv, append([]string{"setpriv", "--no-new-privs"}, command.Args...)
		return command
	})
}

// File writes a file of the user's and returns its path. {{DIR}} stands for the directory.
func (u *User) File(name, text string) string {
	u.t.Helper()
	path := filepath.Join(u.Dir, name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "{{DIR}}", u.Dir)), 0o644); err != nil {
		u.t.Fatal(err)
	}
	u.own(path)
	return path
}

// Command is sandbox, to be started by the user.
func (u *User) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, u.Sandbox, arguments...)
	command.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "XDG_RUNTIME_DIR=" + u.Dir + "/run", "HOME=" + u.Dir}
	command.Cancel = func() error { return command.Process.Signal(unix.SIGTERM) }
	command.WaitDelay = *patience
	command.Dir = u.Dir
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID}}
	}
	return command
}

// Run runs sandbox to its end.
func (u *User) Run(arguments ...string) (status int, said string) {
	u.t.Helper()
	return u.run(func(ctx context.Context) *exec.Cmd { return u.Command(ctx, arguments...) })
}

func (u *User) run(make func(context.Context) *exec.Cmd) (status int, said string) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	command := make(ctx)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); command.ProcessState == nil {
		u.t.Fatalf("%s: %v", strings.Join(command.Args, " "), err)
	}
	if ctx.Err() != nil {
		u.t.Errorf("%s did not end within %v:\n%s", strings.Join(command.Args, " "), *patience, &out)
	}
	return command.ProcessState.ExitCode(), out.String()
}

// nothingLeft fails the test for what an application left in the state directory and in the user's group.
func (u *User) nothingLeft(application string) {
	u.t.Helper()
	if left, _ := filepath.Glob(u.Dir + "/run/sandbox/" + application); len(left) > 0 {
		u.t.Errorf("left: %v", left)
	}
	h, err := cgroup.Find()
	if err != nil {
		u.t.Fatal(err)
	}
	base, err := h.Base()
	if err != nil {
		return
	}
	if group := h.V2() + cgroup.Application(base, application); exists(group) {
		u.t.Errorf("left: %s", group)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// await tries until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(*patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so within %v: %s", *patience, what)
		}
	}
}
