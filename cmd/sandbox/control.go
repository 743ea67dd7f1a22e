package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/launch"
)

// dial connects to a running application: to the control socket, or, when
// looking is enough, to the status socket.
func dial(application string, looking bool) (*control.Client, error) {
	base, err := launch.StateDirectory()
	if err != nil {
		return nil, err
	}
	socket := "control"
	if looking {
		socket = "status"
	}
	client, err := control.Dial(filepath.Join(base, application, socket))
	if err != nil {
		if os.IsNotExist(err) {
			return nil, fmt.Errorf("application %q does not run: %w", application, err)
		}
		return nil, err
	}
	return client, nil
}

// running are the names of the applications that run.
func running() ([]string, error) {
	base, err := launch.StateDirectory()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(base)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the running applications: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(base, e.Name(), "pid")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func status(application string) (*control.Status, error) {
	client, err := dial(application, true)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	reply, err := client.Do(control.Request{Verb: control.AskStatus}, nil)
	if err != nil {
		return nil, fmt.Errorf("application %q: %w", application, err)
	}
	return reply.Status, nil
}

func controlCommands() []*cobra.Command { return nil }
