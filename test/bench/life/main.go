// Command life measures the life of components, as the suite's raw programs measure theirs: it takes the number of
// samples first and prints that many, in nanoseconds, one a line.
//
//	life N -what start|crash -sandbox bin/sandbox -pause PROGRAM
//	life N -what parallel|bare -components 200 -sandbox bin/sandbox -pause PROGRAM
//
// start is the time from the request to start a component whose compartment is there until it was ready, crash that
// from a SIGKILL until it was ready again. parallel is the processor time of an application of so many components,
// from its launch until all were ready, with everything that the broker and the kernel did for it; bare is that of
// the same programs alone.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

const (
	patience = 2 * time.Minute
	settle   = 5 * time.Millisecond // the monitor makes cgroups ahead for the next worker
	// What all cgroups of version 1 that count processor time are below.
	accounting = "/sys/fs/cgroup/cpuacct"
)

// name is the application's; two suites may run at once.
var name = "bench-life-" + strconv.Itoa(os.Getpid())

// interpreted is what the many components run: a program that takes some time of its own, as most do.
var interpreted = []string{"/usr/bin/python3", "-c", "import os, signal; os.write(3, b'x\\n'); signal.pause()"}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "life:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say how many samples")
	}
	samples, err := strconv.Atoi(arguments[0])
	if err != nil {
		return fmt.Errorf("%q is no number of samples", arguments[0])
	}
	flags := flag.NewFlagSet("life", flag.ContinueOnError)
	what := flags.String("what", "", "start, crash, parallel or bare")
	sandbox := flags.String("sandbox", "bin/sandbox", "bin/sandbox")
	pause := flags.String("pause", "", "the small program")
	components := flags.Int("components", 200, "for parallel and bare")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	switch *what {
	case "start", "crash":
		return one(*sandbox, *pause, samples, *what == "crash")
	case "parallel", "bare":
		for range samples {
			used, err := many(*sandbox, *components, *what == "bare")
			if err != nil {
				return err
			}
			fmt.Println(used)
		}
		return nil
	}
	return fmt.Errorf("-what: %q is none", *what)
}

// application is one that runs.
type application struct {
	command *exec.Cmd
	said    bytes.Buffer
	dir     string
}

// launch starts an application by way of a shell command line in which "$0" is the command.
func launch(sandbox, policy, shell string) (*application, error) {
	dir, err := os.MkdirTemp("", "bench-life-")
	if err != nil {
		return nil, err
	}
	a := &application{dir: dir}
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	a.command = exec.Command("/bin/sh", "-c", shell+`exec "$0" "$@"`, sandbox, "run", file)
	a.command.Stdout, a.command.Stderr = &a.said, &a.said
	if err := a.command.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return a, nil
}

func (a *application) stop() error {
	a.command.Process.Signal(unix.SIGTERM)
	err := a.command.Wait()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, a.said.String())
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}

// dial waits for the supervisor's socket.
func dial() (*control.Client, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := control.Dial("/run/sandbox/" + name + "/control")
		if err == nil || time.Now().After(deadline) {
			return c, err
		}
	}
}

// one measures a single small component.
func one(sandbox, program string, samples int, crash bool) (err error) {
	a, err := launch(sandbox, `application: `+name+`
components:
  small: {command: [`+program+`], ready: {fd: 3}, restart: always, restart-delay: 1ms, restart-delay-maximum: 1ms}
supervision: {restarts: 1000000, within: 1s}
`, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	ask, err := dial()
	if err != nil {
		return err
	}
	defer ask.Close()
	follow, err := dial()
	if err != nil {
		return err
	}
	defer follow.Close()
	ready := make(chan time.Time, 16)
	pids := make(chan uint32, 16)
	go func() {
		follow.Do(control.Request{Verb: control.AskEvents, Component: "small", Follow: true, Lines: 16}, func(r control.Reply) error {
			if r.Event != nil && r.Event.To == control.Started {
				ready <- time.Now()
				pids <- r.Event.PID
			}
			return nil
		})
		close(ready)
	}()
	wait := func() (time.Time, uint32, error) {
		select {
		case at, more := <-ready:
			if !more {
				return at, 0, errors.New("the events ended")
			}
			return at, <-pids, nil
		case <-time.After(patience):
			return time.Time{}, 0, errors.New("it does not get ready")
		}
	}
	_, pid, err := wait()
	if err != nil {
		return err
	}
	for range samples {
		time.Sleep(settle)
		var begun, at time.Time
		if crash {
			begun = time.Now()
			err = unix.Kill(int(pid), unix.SIGKILL)
		} else {
			if _, err := ask.Do(control.Request{Verb: control.Stop, Component: "small", Wait: true}, nil); err != nil {
				return err
			}
			if ask.Close(); err != nil {
				return err
			}
			if ask, err = dial(); err != nil { // a request that waited ends its connection
				return err
			}
			time.Sleep(settle)
			begun = time.Now()
			_, err = ask.Do(control.Request{Verb: control.Start, Component: "small"}, nil)
		}
		if err != nil {
			return err
		}
		if at, pid, err = wait(); err != nil {
			return err
		}
		fmt.Println(at.Sub(begun).Nanoseconds())
	}
	return nil
}

// many returns the processor time of many components, in nanoseconds.
func many(sandbox string, components int, bare bool) (used int64, err error) {
	group := filepath.Join(accounting, name)
	if err := os.Mkdir(group, 0o755); err != nil && !os.IsExist(err) {
		return 0, err
	}
	defer func() { err = errors.Join(err, remove(group)) }()
	enter := "echo $$ > " + group + "/cgroup.procs; "
	before, err := usage(group)
	if err != nil {
		return 0, err
	}
	if bare {
		err = alone(components, enter)
		after, unread := usage(group)
		return after - before, errors.Join(err, unread)
	}
	policy := "application: " + name + "\ncomponents:\n"
	for i := range components {
		policy += fmt.Sprintf("  c%d: {extends: python, ready: {fd: 3}, command: [%s, %s, %q]}\n", i, interpreted[0], interpreted[1], interpreted[2])
	}
	a, err := launch(sandbox, policy, enter)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	c, err := dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	// Asking takes processor time too, so it is asked seldom.
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		r, err := c.Do(control.Request{Verb: control.AskStatus}, nil)
		if err != nil {
			return 0, err
		}
		if r.Status.State == control.Running {
			break
		}
		if time.Now().After(deadline) {
			return 0, errors.New("they do not get ready")
		}
	}
	ours, err := usage(group)
	theirs, unread := usage(filepath.Join(accounting, "sandbox", name))
	if os.IsNotExist(unread) {
		unread = nil // its components count with it: it has no group there
	}
	return ours + theirs - before, errors.Join(err, unread)
}

// alone runs the programs as they are, all at once, until each has said that it is ready.
func alone(components int, enter string) error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	// One shell starts them all, so that what it costs itself is nothing.
	loop := enter + "i=0; while [ $i -lt " + strconv.Itoa(components) + ` ]; do "$0" "$@" & i=$((i+1)); done; exec 3>&-; wait`
	c := exec.Command("/bin/sh", append([]string{"-c", loop}, interpreted...)...)
	c.ExtraFiles = []*os.File{theirs}
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return err
	}
	defer c.Wait()
	defer func() { unix.Kill(-c.Process.Pid, unix.SIGKILL) }()
	theirs.Close()
	ready.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4096)
	for said := 0; said < components; {
		n, err := ready.Read(b)
		if err != nil {
			return fmt.Errorf("%d of %d programs are ready: %w", said, components, err)
		}
		said += bytes.Count(b[:n], []byte{'\n'})
	}
	return nil
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
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
