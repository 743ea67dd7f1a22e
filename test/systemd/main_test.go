// Package systemd_test runs applications as units of a real systemd: pid 1 of a
// virtual machine with pure cgroup v2 (test/vm). On the host, each run of these tests
// boots one machine and runs this very program there.
package systemd_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inMachine is set in the machine, and nowhere else: these tests install units.
const inMachine = "BULKHEAD_SYSTEMD_MACHINE"

// patience bounds what must come about by itself. The machine is emulated: on a
// busy host a start of an application takes half a minute.
const patience = 4 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(inMachine) != "" {
		os.Exit(m.Run())
	}
	status, err := boot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(status)
}

// boot runs this program in a machine and returns its status.
func boot() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// A second program of a package only adds its libraries to those of the first.
	line := []string{"--systemd", "--memory", "1536M", "--timeout", "15m", "--env", inMachine + "=1",
		"--elf", self + "=/root/systemd.test", "--dir", "/root", "--tree", "testdata=/root/testdata",
		"--file", "../../release/sandbox@.service=/lib/systemd/system/sandbox@.service"}
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(bin, "sandbox")); err != nil {
		return 0, fmt.Errorf("%w: make build", err)
	}
	// As make install puts them.
	line = append(line, "--elf", filepath.Join(bin, "sandbox")+"=/usr/local/bin/sandbox")
	err = filepath.WalkDir(filepath.Join(bin, "libexec"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			line = append(line, "--elf", path+"=/usr/local/libexec/sandbox/"+d.Name())
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	line = append(line, "--", "/root/systemd.test")
	for _, argument := range os.Args[1:] {
		// The others are about files of the host.
		for _, name := range []string{"-test.v", "-test.run", "-test.skip", "-test.short", "-test.failfast"} {
			if strings.HasPrefix(argument, name) {
				line = append(line, argument)
			}
		}
	}
	machine := exec.Command("../vm/run", line...)
	machine.Stdout, machine.Stderr = os.Stdout, os.Stderr
	err = machine.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// try runs a program and returns what it says, and whether it succeeded.
func try(program string, arguments ...string) (string, bool) {
	b, err := exec.Command(program, arguments...).CombinedOutput()
	return string(b), err == nil
}

// run runs a program that must succeed.
func run(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	text, ok := try(program, arguments...)
	if !ok {
		journal, _ := try("journalctl", "--no-pager", "-n", "40")
		t.Fatalf("%s %s:\n%s\nthe journal:\n%s", program, strings.Join(arguments, " "), text, journal)
	}
	return text
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			journal, _ := try("journalctl", "--no-pager", "-n", "40")
			t.Fatalf("not so within %v: %s; the journal:\n%s", patience, what, journal)
		}
	}
}

// property is one of a unit's, as systemctl show has it.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSuffix(run(t, "systemctl", "show", "--value", "--property", name, unit), "\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
