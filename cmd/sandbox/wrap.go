package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"bulkhead/broker/launch"
	"bulkhead/policy"
)

// wrapping is a policy of one component, made of flags.
type wrapping struct {
	profile, user, directory, memory, wallTime string
	read, write, execute, temporary            []string
	listen, connect, syscalls, environment     []string
	processes                                  int
	hostNetwork, print, verbose                bool
	set                                        []string
}

func wrapCommand() *cobra.Command {
	var w wrapping
	c := &cobra.Command{
		Use:     "wrap [flags] -- PROGRAM [ARGUMENT...]",
		GroupID: "run",
		Short:   "Run one program in a compartment, without a policy file",
		Long: `wrap runs PROGRAM as the only component of an application, with its standard
input, output and error and with no right that no flag gives: no network, no
file but the program's own libraries. Its exit status is the program's.
--print shows the policy that the flags stand for, to start a file from.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, command []string) error { return w.run(command) },
	}
	f := c.Flags()
	f.SetInterspersed(false) // what follows PROGRAM is the program's
	f.StringVar(&w.profile, "profile", "cli-tool", "the profile to start from")
	f.StringArrayVar(&w.read, "read", nil, "a `PATH` that it may read")
	f.StringArrayVar(&w.write, "write", nil, "a `PATH` that it may write")
	f.StringArrayVar(&w.execute, "execute", nil, "another `PROGRAM` that it may execute")
	f.StringArrayVar(&w.temporary, "temporary", nil, "a `DIRECTORY` of its own in memory")
	f.StringArrayVar(&w.listen, "listen", nil, "an `ADDRESS` that it may listen on, as tcp:127.0.0.1:8080")
	f.StringArrayVar(&w.connect, "connect", nil, "an `ADDRESS` that it may connect to")
	f.StringArrayVar(&w.syscalls, "syscalls", nil, "more system calls, a `NAME` or @group")
	f.StringArrayVar(&w.environment, "env", nil, "a variable: `NAME=VALUE`, or NAME to inherit it")
	f.StringVar(&w.user, "user", "", "the `USER` that it runs as; nobody that exists without")
	f.StringVar(&w.directory, "directory", "", "its working `DIRECTORY`")
	f.StringVar(&w.memory, "memory", "", "how much memory it may use, as `512M`")
	f.StringVar(&w.wallTime, "wall-time", "", "how long it may run, as `30s`")
	f.IntVar(&w.processes, "processes", 0, "how many `TASKS` it may be at once")
	f.BoolVar(&w.hostNetwork, "host-network", false, "share the host's network")
	f.StringArrayVar(&w.set, "set", nil, "override a value of the policy: `KEY=VALUE`")
	f.BoolVarP(&w.verbose, "verbose", "v", false, "tell what happens, and what the program tried and was refused")
	f.BoolVar(&w.print, "print", false, "print the policy instead of running it")
	return c
}

// The shape of the policy that is written; the keys are the language's.
type (
	wrapPolicy struct {
		Application string                   `yaml:"application"`
		Grants      yaml.MapSlice            `yaml:"grants,omitempty"`
		Components  map[string]wrapComponent `yaml:"components"`
	}
	wrapComponent struct {
		Extends     string         `yaml:"extends,omitempty"`
		Command     []string       `yaml:"command,flow"`
		Grants      []string       `yaml:"grants,flow,omitempty"`
		Files       map[string]any `yaml:"files,omitempty"`
		Network     string         `yaml:"network,omitempty"`
		Syscalls    []string       `yaml:"syscalls,flow,omitempty"`
		Limits      map[string]any `yaml:"limits,flow,omitempty"`
		User        string         `yaml:"user,omitempty"`
		Directory   string         `yaml:"directory,omitempty"`
		Environment yaml.MapSlice  `yaml:"environment,omitempty"`
		Output      string         `yaml:"output"`
		Restart     string         `yaml:"restart"`
	}
)

func (w *wrapping) run(command []string) error {
	program, err := findProgram(command[0])
	if err != nil {
		return err
	}
	command[0] = program
	if w.print {
		text, err := w.policy(command)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(text)
		return err
	}
	begun, err := launch.Begin()
	if err != nil {
		return err
	}
	defer begun.GiveUp()
	text, err := w.policy(command)
	if err != nil {
		return err
	}
	loaded, loadError := policy.Parse("the policy of sandbox wrap", text, policy.Options{Set: w.set})
	p, err := compile(loaded, loadError)
	if err != nil {
		return failedStart(err)
	}
	p.Quiet = !w.verbose
	return start(begun, p, false, launch.NoManager())
}

// policy writes the policy of a command, whose program is a path.
func (w *wrapping) policy(command []string) ([]byte, error) {
	component := wrapComponent{
		Extends: w.profile, Command: command,
		Syscalls: w.syscalls, User: w.user, Directory: w.directory,
		Files: map[string]any{}, Limits: map[string]any{},
		Output: "inherit", Restart: "never",
	}
	// The process makes the name unique: two wraps of a program may run.
	p := wrapPolicy{Application: fmt.Sprintf("%s-%d", applicationName(command[0]), os.Getpid())}
	for _, kind := range []struct {
		name      string
		addresses []string
	}{{"listen", w.listen}, {"connect", w.connect}} {
		for i, address := range kind.addresses {
			name := fmt.Sprintf("%s-%d", kind.name, i+1)
			p.Grants = append(p.Grants, yaml.MapItem{Key: name, Value: map[string]string{kind.name: address}})
			component.Grants = append(component.Grants, name)
		}
	}
	for key, paths := range map[string][]string{"read": w.read, "write": w.write, "execute": w.execute, "temporary": w.temporary} {
		if len(paths) > 0 {
			component.Files[key] = paths
		}
	}
	for _, variable := range w.environment {
		name, value, given := strings.Cut(variable, "=")
		if !given {
			value = os.Getenv(name)
		}
		component.Environment = append(component.Environment, yaml.MapItem{Key: name, Value: value})
	}
	if w.memory != "" {
		component.Limits["memory"] = w.memory
	}
	if w.wallTime != "" {
		component.Limits["wall-time"] = w.wallTime
	}
	if w.processes != 0 {
		component.Limits["processes"] = w.processes
	}
	if w.hostNetwork {
		component.Network = "host"
	}
	p.Components = map[string]wrapComponent{"main": component}
	text, err := yaml.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	return text, nil
}

// applicationName makes a name that a policy accepts out of a program's.
func applicationName(program string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, filepath.Base(program))
	return "wrap-" + strings.Trim(name, "-")
}
