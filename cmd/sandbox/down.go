package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/policy"
)

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down APPLICATION|DIRECTORY", GroupID: "run",
		Short: "Stop a whole application in order, and wait until nothing of it is left",
		Long: `down stops an application, or with a path (./policies, /etc/sandbox) those of
the policies in that directory which run. A sandbox up that follows the directory
does not start them again until their files change.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			if strings.ContainsRune(arguments[0], '/') || arguments[0] == "." {
				return downDirectory(arguments[0])
			}
			return down(arguments[0])
		},
	}
}

// downDirectory stops the applications of a directory side by side.
func downDirectory(directory string) error {
	if info, err := os.Stat(directory); err == nil && !info.IsDir() {
		return notRunning(directory)
	}
	files, err := policyFiles(directory)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	failed := make([]error, len(files))
	for i, file := range files {
		loaded, err := policy.Load(file, policy.Options{})
		if loaded == nil {
			failed[i] = err
			continue
		}
		name := loaded.Application()
		if client, err := dial(name, true); err == nil {
			client.Close()
			wait.Go(func() { failed[i] = down(name) })
		}
	}
	wait.Wait()
	return errors.Join(failed...)
}

// heedPatience is how long the supervisor may take to say that it stops the
// application. It is short, because asking the broker too does no harm.
const heedPatience = 5 * time.Second

// down waits on the directory's lock: the sweeper gives it up last of all,
// when cgroups, mounts and sockets are gone. The broker bounds the stop itself,
// whatever becomes of its supervisor, once it has heard of it: where the
// supervisor does not answer, from a signal.
func down(application string) error {
	client, err := dial(application, false)
	if err != nil {
		return err
	}
	defer client.Close()
	directory, err := os.Open(filepath.Join(baseOf(application), application))
	if err != nil {
		return fmt.Errorf("application %q: %w", application, err)
	}
	defer directory.Close()
	client.SetDeadline(time.Now().Add(heedPatience))
	// The connection may end before the answer: so does the application.
	_, err = client.Do(control.Request{Verb: control.Shutdown}, nil)
	var refused control.Refused
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("application %q: %s", application, refused)
	case errors.Is(err, os.ErrDeadlineExceeded):
		fmt.Fprintf(os.Stderr, "sandbox: the supervisor of application %s does not answer; its broker is sent SIGTERM\n", application)
		if err := signalBroker(directory, application); err != nil {
			return fmt.Errorf("application %q: its supervisor does not answer within %s, and its broker cannot be asked to stop: %w", application, heedPatience, err)
		}
	}
	if err := unix.Flock(int(directory.Fd()), unix.LOCK_SH); err != nil {
		return fmt.Errorf("application %q: wait for its end: %w", application, err)
	}
	return nil
}

// signalBroker asks the broker of an application to stop; one that has ended
// needs no asking. The pid is a guess until the process is held and has the
// name that the launcher gave it.
func signalBroker(directory *os.File, application string) error {
	text, err := os.ReadFile(filepath.Join(directory.Name(), "pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // swept away
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || strings.TrimRight(string(name), "\x00") != "sandbox: "+application {
		return nil // it has ended, and another process has its number
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
