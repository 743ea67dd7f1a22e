package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guestMain is pid 1, or, with --systemd, first that and then its service. It never returns: the
// host ends the machine after the last frame, and until there is a port to speak through, the end
// of pid 1 panics the kernel, which the host reports with the log.
func guestMain() {
	j, port, err := openPort()
	if err != nil {
		fmt.Println("vm: init:", err)
		os.Exit(1)
	}
	host := &frameWriter{out: port}
	if err := j.run(host); err != nil {
		host.write(frameFailure, []byte(err.Error()))
	}
	select {}
}

// openPort does what has to be done before the host can be told what went wrong.
func openPort() (*job, *os.File, error) {
	text, err := os.ReadFile(guestJob)
	if err != nil {
		return nil, nil, err
	}
	j := new(job)
	if err := json.Unmarshal(text, j); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", guestJob, err)
	}
	switch {
	case j.Systemd && os.Getpid() == 1:
		return nil, nil, j.becomeSystemd()
	case !j.Systemd:
		// Pid 1 holds /dev/console, which is not to lie below a mount: hence before all others.
		if err := errors.Join(makeRootMovable(), mountAll()); err != nil {
			return nil, nil, err
		}
		if err := j.loadModules(); err != nil {
			return nil, nil, err
		}
	}
	// The port appears some time after its driver; on a busy host that takes long.
	const patience = time.Minute
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		// Not through os.OpenFile, which would make it non-blocking: the driver wakes
		// writers that wait in poll only when the host reconnects.
		fd, err := syscall.Open(guestPort, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
		if err == nil {
			return j, os.NewFile(uintptr(fd), guestPort), nil
		}
		if time.Since(start) > patience {
			return nil, nil, fmt.Errorf("%s: %w after %v", guestPort, err, patience)
		}
	}
}

// run sets up what the command sees, runs it and tells the host how it ended. The error is the
// lane's, never the command's.
func (j *job) run(host *frameWriter) error {
	if err := os.RemoveAll(guestDir); err != nil {
		return err
	}
	os.Remove(guestInit)
	attributes, err := j.place()
	if err != nil {
		return err
	}

	env := j.environment()
	program, err := findProgram(j.Command[0], j.directory(), env)
	if errors.Is(err, errDirectory) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return host.write(frameMissing, []byte(err.Error()))
	} else if err != nil {
		return host.write(frameNoExec, []byte(err.Error()))
	}
	if err := host.write(frameBooted, nil); err != nil {
		return err
	}

	stdout, toStdout, err := j.pipe()
	if err != nil {
		return err
	}
	stderr, toStderr, err := j.pipe()
	if err != nil {
		return err
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	child, err := os.StartProcess(program, j.Command, &os.ProcAttr{
		Dir:   j.directory(),
		Env:   env,
		Files: []*os.File{nothing, toStdout, toStderr},
		Sys:   attributes,
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: its interpreter is not in the machine (--elf brings it)", err)
	}
	if err != nil {
		return host.write(frameNoExec, []byte(err.Error()))
	}
	toStdout.Close()
	toStderr.Close()

	var streams sync.WaitGroup
	streams.Go(func() { pass(host, frameStdout, stdout) })
	streams.Go(func() { pass(host, frameStderr, stderr) })
	status, err := reapUntil(child.Pid)
	if err != nil {
		return err
	}
	// What the command left behind may hold the pipes open for ever. This reaches every process
	// but this one and pid 1.
	syscall.Kill(-1, syscall.SIGKILL)
	streams.Wait()
	return host.write(frameExit, binary.BigEndian.AppendUint32(nil, uint32(status)))
}

func (j *job) directory() string {
	if j.Dir != "" {
		return j.Dir
	}
	if j.User {
		return "/home/tester"
	}
	return "/root"
}

func (j *job) environment() []string {
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	env := []string{path, "HOME=/root", "USER=root", "LANG=C.UTF-8"}
	if j.User {
		env = []string{path, "HOME=/home/tester", "USER=tester", "LANG=C.UTF-8", "XDG_RUNTIME_DIR=" + testerRuntime}
	}
	return append(env, j.Env...)
}

// place makes the place where the command starts; systemd has made one already.
func (j *job) place() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if j.Systemd {
		return attr, nil
	}
	cgroup, err := prepare(j.User)
	if err != nil {
		return nil, err
	}
	// Open as long as the machine is there: the garbage collector would close an *os.File.
	attr.UseCgroupFD = true
	if attr.CgroupFD, err = syscall.Dup(int(cgroup.Fd())); err != nil {
		return nil, err
	}
	syscall.CloseOnExec(attr.CgroupFD)
	cgroup.Close()
	if j.User {
		attr.Credential = &syscall.Credential{Uid: testerID, Gid: testerID, Groups: []uint32{testerID}}
	}
	return attr, nil
}

func (j *job) loadModules() error {
	for _, name := range j.Modules {
		if err := loadModule(filepath.Join(guestModules, name)); err != nil {
			return err
		}
	}
	return nil
}

// pipe makes a pipe that belongs to the command's user, who could otherwise not open /dev/stdout.
func (j *job) pipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err == nil && j.User {
		err = w.Chown(testerID, testerID)
	}
	return r, w, err
}

// pass sends a stream to the host until all who could write to it are gone.
func pass(host *frameWriter, kind frameKind, from *os.File) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if host.write(kind, buffer[:n]) != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				host.write(frameStderr, fmt.Appendf(nil, "vm: reading the command's output: %v\n", err))
			}
			return
		}
	}
}

// reapUntil does what pid 1 is for, waiting for whatever process ends, until the given one has.
func reapUntil(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if got == pid {
			return status, nil
		}
	}
}

var errDirectory = errors.New("--dir")

// findProgram looks a command up as a shell does, from the command's directory and in its PATH.
func findProgram(name, dir string, env []string) (string, error) {
	for _, assignment := range env { // the last one holds
		if path, ok := strings.CutPrefix(assignment, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	if err := os.Chdir(dir); err != nil {
		return "", fmt.Errorf("%w: %w", errDirectory, err)
	}
	// Not to stay: pid 1 would keep whatever is mounted there busy.
	defer os.Chdir("/")
	return exec.LookPath(name)
}
