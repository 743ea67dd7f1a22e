package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"bulkhead/broker/confine"
	"bulkhead/broker/launch"
	"bulkhead/policy"
	"bulkhead/policy/plan"
)

//go:embed supervisor.yaml
var supervisorPolicy []byte

// compileFile loads and compiles a policy file, and prints its warnings.
func compileFile(path string, set []string) (*policy.Policy, *plan.Plan, error) {
	loaded, loadError := policy.Load(path, policy.Options{Set: set})
	p, err := compile(loaded, loadError)
	if err == nil {
		// Messages name it as the person did; whoever reloads it may stand
		// elsewhere.
		p.Source, err = filepath.Abs(path)
	}
	return loaded, p, err
}

// compile prints warnings and returns the plan. A policy that was read but has
// mistakes is compiled all the same: that reports all of them at once.
func compile(loaded *policy.Policy, loadError error) (*plan.Plan, error) {
	if loaded == nil {
		return nil, loadError
	}
	p, warnings, err := policy.Compile(loaded, policy.LocalHost())
	for _, w := range warnings {
		fmt.Fprint(os.Stderr, w.Render(colors(os.Stderr)))
	}
	if err == nil {
		err = loadError
	}
	return p, err
}

// addSupervisor appends the supervisor to a plan and returns its index.
func addSupervisor(p *plan.Plan, programs launch.Programs) (int, error) {
	loaded, err := policy.Parse("the supervisor's own policy", supervisorPolicy, policy.Options{
		Set: []string{"application=" + p.Application, "variables.program=" + programs.Supervisor},
	})
	if err != nil {
		return 0, err
	}
	own, _, err := policy.Compile(loaded, policy.LocalHost())
	if err != nil {
		return 0, err
	}
	component := own.Components[0]
	component.Syscalls = confine.Supervisor()
	if value, set := os.LookupEnv("NO_COLOR"); set {
		component.Environment = append(component.Environment, "NO_COLOR="+value)
	}
	p.Components = append(p.Components, component)
	return len(p.Components) - 1, nil
}

// start runs a plan: on success it does not return.
func start(begun *launch.Beginning, p *plan.Plan, idempotent bool, manager *launch.Manager) error {
	if begun.RealTime != "" {
		fmt.Fprintf(os.Stderr, "sandbox: started with %s, which no policy can grant: components and broker are scheduled normally (SCHED_OTHER)\n", begun.RealTime)
	}
	own := launch.Own{}
	var err error
	if own.Resolver, err = addResolver(p, begun.Programs); err != nil {
		return err
	}
	if own.Supervisor, err = addSupervisor(p, begun.Programs); err != nil {
		return err
	}
	err = launch.Launch(p, begun, own, manager)
	var running *launch.ErrRunning
	if idempotent && errors.As(err, &running) {
		fmt.Fprintf(os.Stderr, "sandbox: application %q runs already, its broker is process %s\n", running.Application, running.Pid)
		return nil
	}
	return err
}

func runCommand() *cobra.Command {
	var set []string
	var idempotent bool
	var ready int
	c := &cobra.Command{
		Use:     "run FILE",
		GroupID: "run",
		Short:   "Run the application of a policy file in the foreground",
		Long: `run starts the application that FILE describes and stays in the foreground.
What components write appears with their names in front. SIGTERM and SIGINT
stop them in order; a second one ends everything at once. A service manager is
told when the application is up and when it stops (NOTIFY_SOCKET of systemd,
--ready-fd for s6), and sockets that it made are used for the grants that they
are named after (LISTEN_FDS, LISTEN_FDNAMES).`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			if c.Flags().Changed("ready-fd") && ready < 0 {
				return fmt.Errorf("--ready-fd %d: a descriptor is a number from 0 on", ready)
			}
			// First: it takes what the caller's descriptors are, before this
			// process has many of its own.
			manager, err := launch.FindManager(ready)
			if err != nil {
				return err
			}
			begun, err := launch.Begin()
			if err != nil {
				return err
			}
			defer begun.GiveUp()
			_, p, err := compileFile(arguments[0], set)
			if err != nil {
				return failedStart(err)
			}
			return start(begun, p, idempotent, manager)
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "override a value of the policy: `KEY=VALUE`, for example components.web.limits.memory=1G")
	c.Flags().IntVar(&ready, "ready-fd", -1, "write a newline to this descriptor `NUMBER` when the application is up (s6's notification-fd)")
	c.Flags().BoolVar(&idempotent, "idempotent", false, "succeed without doing anything when the application runs already")
	return c
}

// failedStart gives a policy error the exit status that a shell would: 127
// where the only mistake is a program that is not there, 126 where it cannot
// be executed.
func failedStart(err error) error {
	var problems *policy.Problems
	if !errors.As(err, &problems) || len(problems.List) != 1 || problems.List[0].Status == 0 {
		return err
	}
	complain(err)
	return exit(problems.List[0].Status)
}
