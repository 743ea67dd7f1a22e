package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// account runs the application in a cgroup that counts what the broker uses, and its components with it unless the
// application has a cgroup of its own there.
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
		// On a busy machine the application may be gone before the last look, and its group with it.
		var used int64
		for range 10 {
			time.Sleep(rest / 10)
			now, err := usage(group, application)
			if err != nil {
				return errors.Join(err, command.Process.Kill(), command.Wait())
			}
			used = max(used, now)
		}
		read = append(read, used)
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

// usage is the processor time of cgroups and those in them, of the living and of the dead. One that is not there has used
// nothing: an application has a group of its own only where its limits need one.
func usage(groups ...string) (sum int64, err error) {
	for _, group := range groups {
		text, err := os.ReadFile(filepath.Join(group, "cpuacct.usage"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		used, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
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
