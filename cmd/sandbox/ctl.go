package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
)

// verbs are what sandbox ctl can do, with what it does in words.
var verbs = []struct {
	verb  control.Verb
	short string
	waits bool
}{
	{control.Start, "Start a component and what it comes after", true},
	{control.Stop, "Stop a component; it stays down until it is started", true},
	{control.Reload, "Send a component its reload signal", false},
	{control.Destroy, "Kill every process of a component at once", true},
	{control.Freeze, "Let every process of a component stand still, with what it holds", false},
	{control.Thaw, "Let the processes of a frozen component go on", false},
	{control.Release, "Stop a component as soon as no other comes after it", false},
	{control.Unpin, "End a pin", false},
}

func ctlCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ctl", GroupID: "run",
		Short: "Start, stop and signal the components of a running application",
		Long: `ctl asks the supervisor of a running application. It waits until what was
asked for is so; --no-wait only asks.`,
		RunE: func(c *cobra.Command, arguments []string) error {
			if len(arguments) == 0 {
				return c.Help()
			}
			var all []string
			for _, verb := range c.Commands() {
				all = append(all, verb.Name())
			}
			return fmt.Errorf("sandbox ctl cannot %s; it can %s", arguments[0], strings.Join(all, ", "))
		},
	}
	for _, v := range verbs {
		c.AddCommand(verbCommand(v.verb, v.short, v.waits))
	}
	c.AddCommand(restartCommand(), signalCommand(), pinCommand())
	return c
}

func verbCommand(verb control.Verb, short string, waits bool) *cobra.Command {
	var noWait bool
	c := &cobra.Command{
		Use:   string(verb) + " APPLICATION COMPONENT",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			_, err := ask(arguments[0], control.Request{Verb: verb, Component: arguments[1], Wait: waits && !noWait}, nil)
			return err
		},
	}
	if waits {
		c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is so")
	}
	return c
}

func restartCommand() *cobra.Command {
	var noWait bool
	c := &cobra.Command{
		Use:   "restart APPLICATION [COMPONENT...]",
		Short: "Stop a component, then start it; several, or all that are up, one after the other",
		Long: `restart stops a component and starts it again. Several it takes one by one, in the
order of their start, and each has to be ready before the next: the first that does
not come back ends it, and the others run on. Without names it takes all that are up.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			names := arguments[1:]
			if len(names) != 1 {
				reply, err := ask(arguments[0], control.Request{Verb: control.AskStatus}, nil)
				if err != nil {
					return err
				}
				if names, err = inOrder(reply.Status.Components, names); err != nil {
					return err
				}
			}
			for _, name := range names {
				if _, err := ask(arguments[0], control.Request{Verb: control.Restart, Component: name, Wait: !noWait}, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is so")
	return c
}

// inOrder puts components into the order in which they start. Without names it
// takes those that are up and have a life of their own.
func inOrder(all []control.Component, names []string) ([]string, error) {
	wanted, after := map[string]bool{}, map[string][]string{}
	for _, c := range all {
		after[c.Name] = c.After
		own := c.Start == "with-application" || c.Start == "on-demand"
		wanted[c.Name] = len(names) == 0 && own && c.State.Up() && c.Name != "supervisor" || slices.Contains(names, c.Name)
	}
	for _, name := range names {
		if _, known := after[name]; !known {
			return nil, fmt.Errorf("there is no component %q", name)
		}
	}
	var order []string
	var visit func(name string)
	visit = func(name string) {
		if _, first := after[name]; !first {
			return
		}
		before := after[name]
		delete(after, name)
		for _, other := range before {
			visit(other)
		}
		if wanted[name] {
			order = append(order, name)
		}
	}
	for _, c := range all {
		visit(c.Name)
	}
	return order, nil
}

func signalCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "signal APPLICATION COMPONENT SIGNAL",
		Short: "Send a signal to the workers of a component",
		Args:  cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, arguments []string) error {
			number, err := signalNumber(arguments[2])
			if err != nil {
				return err
			}
			_, err = ask(arguments[0], control.Request{Verb: control.Signal, Component: arguments[1], Signal: number}, nil)
			return err
		},
	}
}

// signalNumber reads HUP, SIGHUP, hup or 1.
func signalNumber(s string) (int, error) {
	if number, err := strconv.Atoi(s); err == nil {
		if number < 1 || number > 64 {
			return 0, fmt.Errorf("there is no signal %d: they are numbered from 1 to 64", number)
		}
		return number, nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if number := unix.SignalNum(name); number != 0 {
		return int(number), nil
	}
	return 0, fmt.Errorf("there is no signal %q; kill -l lists them", s)
}

func pinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pin APPLICATION COMPONENT up|down",
		Short: "Keep a component up, or down, whatever is asked",
		Args:  cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, arguments []string) error {
			how := arguments[2]
			if how != "up" && how != "down" {
				return fmt.Errorf("a component is pinned up or down, not %q", how)
			}
			_, err := ask(arguments[0], control.Request{Verb: control.Pin, Component: arguments[1], Up: how == "up"}, nil)
			return err
		},
	}
}
