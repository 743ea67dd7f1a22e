package learn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulkhead/test/transcript"

	"golang.org/x/sys/unix"
)

// patience is how long anything may take that a program does at once on a
// machine with time to spare.
const patience = time.Minute

// trial is one program that a policy is learnt for.
type trial struct {
	t         *testing.T
	name      string // of the application
	directory string // of the program's own files
	record    string
	policy    string
	user      string // whom it is observed as; root without
}

func begin(t *testing.T, packages ...string) *trial {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: compartments are made by root")
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
	// Not below /tmp, which many programs want as a directory of their own.
	directory, err := os.MkdirTemp("/srv", "learn-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	return &trial{t: t, name: "learn-" + strings.ToLower(strings.TrimPrefix(t.Name(), "Test")) + "-" + strconv.Itoa(os.Getpid()), directory: directory,
		record: filepath.Join(own, "record.json"), policy: filepath.Join(own, "learnt.yaml")}
}

func sandbox(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/sandbox")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// file writes a file that the program may use, readable for all.
func (x *trial) file(name, content string) string {
	x.t.Helper()
	path := filepath.Join(x.directory, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		x.t.Fatal(err)
	}
	return path
}

// process is something that runs until it ends or is stopped.
type process struct {
	t              *testing.T
	command        *exec.Cmd
	stdout, stderr transcript.Transcript
	ended          chan struct{}
}

// environment is what programs are started with, whatever the tests' own is.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/nonexistent"}

func (x *trial) start(input string, arguments ...string) *process {
	x.t.Helper()
	p := &process{t: x.t, command: exec.Command(sandbox(x.t), arguments...), ended: make(chan struct{})}
	p.command.Stdin, p.command.Stdout, p.command.Stderr = strings.NewReader(input), &p.stdout, &p.stderr
	p.command.Env = environment
	p.command.Dir = x.directory
	if err := p.command.Start(); err != nil {
		x.t.Fatal(err)
	}
	go func() { p.command.Wait(); close(p.ended) }() // the status is in ProcessState
	x.t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			p.command.Process.Kill()
			<-p.ended
		}
	})
	return p
}

// stop asks it to end, and waits.
func (p *process) stop() {
	p.t.Helper()
	p.command.Process.Signal(unix.SIGTERM)
	p.wait(0)
}

func (p *process) wait(status int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%v has not ended after %v\n%s", p.command.Args, patience, p.stderr.String())
	}
	if got := p.command.ProcessState.ExitCode(); got != status {
		p.t.Fatalf("%v ended with %v, not %d\n%s%s", p.command.Args, p.command.ProcessState, status, p.stdout.String(), p.stderr.String())
	}
}

// await tries until something works.
func (p *process) await(try func() error) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			p.t.Fatalf("%v has ended: %v: %v\n%s%s", p.command.Args, p.command.ProcessState, err, p.stdout.String(), p.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%v: not after %v: %v\n%s", p.command.Args, patience, err, p.stderr.String())
		}
	}
}

func (x *trial) learn() []string {
	arguments := []string{"learn", "--name", x.name, "--record", x.record}
	if x.user != "" {
		arguments = append(arguments, "--user", x.user)
	}
	return append(arguments, "--")
}

// observed adds a run of a tool to the record.
func (x *trial) observed(input string, command ...string) {
	x.t.Helper()
	p := x.start(input, append(x.learn(), command...)...)
	p.wait(0)
	x.complete(p)
}

// observing adds a run of a daemon to the record.
func (x *trial) observing(work func(*process), command ...string) {
	x.t.Helper()
	p := x.start("", append(x.learn(), command...)...)
	work(p)
	p.stop()
	x.complete(p)
}

func (x *trial) complete(p *process) {
	x.t.Helper()
	if text := p.stderr.String(); strings.Contains(text, "not complete") || strings.Contains(text, "failed") {
		x.t.Fatalf("%v: %s", p.command.Args, text)
	}
}

// learnt writes the policy of the record, with another command where the next
// work is another one.
func (x *trial) learnt(replace ...string) string {
	x.t.Helper()
	p := x.start("", "learn", "--name", x.name, "--record", x.record, "--output", x.policy)
	p.wait(0)
	text, err := os.ReadFile(x.policy)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		if x.t.Failed() {
			x.t.Logf("the policy:\n%s", text)
		}
	})
	head, rest, _ := strings.Cut(string(text), "\n    command:")
	command, tail, _ := strings.Cut(rest, "\n")
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(command, replace[i]) {
			x.t.Fatalf("the command has no %q:\n%s", replace[i], command)
		}
		command = strings.Replace(command, replace[i], replace[i+1], 1)
	}
	changed := head + "\n    command:" + command + "\n" + tail
	if err := os.WriteFile(x.policy, []byte(changed), 0o644); err != nil {
		x.t.Fatal(err)
	}
	return changed
}

// run runs the policy, and fails the test for any denial.
func (x *trial) run(input string, work func(*process)) string {
	x.t.Helper()
	p := x.start(input, "run", x.policy)
	if work == nil {
		p.wait(0)
	} else {
		work(p)
		p.stop()
	}
	if text := p.stderr.String() + p.stdout.String(); strings.Contains(text, "denied:") {
		x.t.Errorf("under the learnt policy something was refused:\n%s", text)
	}
	return p.stdout.String()
}

// dialogue writes to a TCP port and reads until what comes has a text in it.
func dialogue(port, send, want string) error {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience / 3))
	if _, err := io.WriteString(c, send); err != nil {
		return err
	}
	var got []byte
	b := make([]byte, 4096)
	for !bytes.Contains(got, []byte(want)) {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			return fmt.Errorf("%q was answered by %q, not %q: %w", send, got, want, errors.Join(err))
		}
	}
	return nil
}

func get(port, path, want string) error {
	return dialogue(port, "GET "+path+" HTTP/1.0\r\nHost: localhost\r\n\r\n", want)
}
