package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// accounting is what all cgroups of version 1 that count processor time are below.
const accounting = "/sys/fs/cgroup/cpuacct"

// rest is how long it is left alone before what was used is read: by then nobody is busy with what came before.
const rest = 100 * time.Millisecond

// leastCounted is over how many starts what the broker does by itself is spread.
const leastCounted = 100

// account runs the application in a cgroup that counts what the broker uses. What components use, the supervisor
// among them, counts in the application's own.
func (s *settings) account(policy string) (err error) {
	group := filepath.Join(accounting, "bench-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(group)) }()
	application := filepath.Join(accounting, "sandbox", filepath.Base(group))
	command := exec.Command("/bin/sh", "-c", "echo $$ > "+group+`/cgroup.procs; exec "$0" "$@"`, s.Sandbox, "run", policy)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	command.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	if err := command.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	var read []int64
	for lines.Scan() && lines.Text() == "rest" {
		time.Sleep(rest)
		sum := int64(0)
		for _, of := range []string{group, application} {
			used, err := usage(of)
			if err != nil {
				return errors.Join(err, command.Process.Kill(), command.Wait())
			}
			sum += used
		}
		read = append(read, sum)
	}
	io.Copy(io.Discard, out) // the front's own samples are times
	if err := command.Wait(); err != nil {
		return err
	}
	if len(read) != 2 {
		return fmt.Errorf("the front rested %d times, not twice", len(read))
	}
	for range s.Samples {
		fmt.Println((read[1] - read[0]) / int64(s.starts()))
	}
	return nil
}

// starts is how many workers the front asks for.
func (s *settings) starts() int {
	if s.Processor {
		return max(s.Samples, leastCounted)
	}
	return s.Samples
}

// usage is the processor time of a cgroup and those in it, of the living and of the dead.
func usage(group string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(group, "cpuacct.usage"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// remove removes a cgroup, whose last process may still be on its way out.
func remove(group string) (err error) {
	for range 1000 {
		if err = os.Remove(group); err == nil || os.IsNotExist(err) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}
