package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/broker/launch"
	"bulkhead/policy"
	"bulkhead/policy/plan"
)

func reloadCommand() *cobra.Command {
	var set []string
	var dryRun bool
	c := &cobra.Command{
		Use: "reload FILE|APPLICATION", GroupID: "run",
		Short: "Apply a changed policy to the application that runs",
		Long: `reload compiles FILE, or the file that APPLICATION was started from, and puts it
in the place of the policy that runs. Components about which nothing changed run
on untouched: the same processes, the same connections. Those that changed are
stopped and started in order, new ones start, those that are gone stop; sockets
that are newly granted are bound, and those that are granted no more are closed.
What is needed is built before anything is stopped: a policy with mistakes, a
port in use or a wall that cannot be built changes nothing.

What --set overrode when the application was started has to be given again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error { return reload(arguments[0], set, dryRun) },
	}
	c.Flags().StringArrayVar(&set, "set", nil, "override a value of the policy: `KEY=VALUE`")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would happen, and why")
	return c
}

func reload(what string, set []string, dryRun bool) error {
	file, err := policyFileOf(what)
	if err != nil {
		return err
	}
	_, next, err := compileFile(file, set)
	if err != nil {
		return err
	}
	name := next.Application
	if client, err := dial(name, false); err != nil {
		return err
	} else {
		client.Close()
	}
	directory := filepath.Join(baseOf(name), name)
	now, err := launch.Present(directory)
	if err != nil {
		return fmt.Errorf("application %q: %w", name, err)
	}
	programs, err := launch.Find()
	if err != nil {
		return err
	}
	resolver, err := addResolver(next, programs)
	if err != nil {
		return err
	}
	same, err := launch.Fit(directory, now, next, resolver)
	if err != nil {
		return fmt.Errorf("application %q: %w", name, err)
	}
	if same, err := sameApplication(now, next); err != nil {
		return err
	} else if same {
		fmt.Printf("application %s: nothing changes\n", name)
		return nil
	}
	if !dryRun {
		if err := launch.Reload(directory, now, next); err != nil {
			return fmt.Errorf("application %q: %w", name, err)
		}
	}
	writeChanges(os.Stdout, now, next, same, dryRun)
	return nil
}

// policyFileOf is the file that an argument means: a file, or the one that a
// running application was started from.
func policyFileOf(what string) (string, error) {
	if st, err := os.Stat(what); err == nil && !st.IsDir() || strings.ContainsAny(what, "./") {
		return what, nil // what is wrong with it says who reads it
	}
	directory := filepath.Join(baseOf(what), what)
	if _, err := os.Stat(filepath.Join(directory, "pid")); err != nil {
		return "", notRunning(what)
	}
	now, err := launch.Present(directory)
	if err != nil {
		return "", fmt.Errorf("application %q: %w", what, err)
	}
	return now.Source, nil
}

// sameApplication says whether two plans run the same, wherever in their files
// it stands.
func sameApplication(now, next *plan.Plan) (bool, error) {
	is, err := fingerprint(now)
	if err != nil {
		return false, err
	}
	will, err := fingerprint(next)
	return is == will, err
}

// writeChanges says of each component what happens to it and why.
func writeChanges(w io.Writer, now, next *plan.Plan, same []int, dryRun bool) {
	restarted, along := map[string]bool{}, map[string]string{}
	var kept []string
	for i := range next.Components {
		restarted[next.Components[i].Name] = same[i] < 0
	}
	for i := range now.Components {
		if _, still := restarted[now.Components[i].Name]; !still {
			restarted[now.Components[i].Name] = true
		}
	}
	takenAlong(&now.Supervision, restarted, along)
	verb := "application %s runs its changed policy\n"
	if dryRun {
		verb = "application %s would run its changed policy\n"
	}
	fmt.Fprintf(w, verb, next.Application)
	row := func(what, name, why string) { fmt.Fprintf(w, "  %-9s %s: %s\n", what, name, why) }
	last := len(next.Components) - 1 // the supervisor
	for i := range next.Components[:last] {
		name := next.Components[i].Name
		before := slices.IndexFunc(now.Components, func(c plan.Component) bool { return c.Name == name })
		switch {
		case same[i] >= 0 && along[name] != "":
			row("restarted", name, along[name])
		case same[i] >= 0:
			kept = append(kept, name)
		case before < 0:
			row("new", name, "runs "+next.Components[i].Program)
		default:
			for _, why := range policy.ChangesOf(now, before, next, i) {
				row("changed", name, why)
			}
		}
	}
	for i := range now.Components[:len(now.Components)-1] {
		name := now.Components[i].Name
		if !slices.ContainsFunc(next.Components, func(c plan.Component) bool { return c.Name == name }) {
			row("gone", name, "the policy names it no more")
		}
	}
	writeSockets(w, now, next)
	if len(kept) > 0 {
		fmt.Fprintf(w, "  %-9s %s\n", "untouched", joined(kept))
	}
}

// writeSockets says which listening sockets come and go.
func writeSockets(w io.Writer, now, next *plan.Plan) {
	for _, side := range []struct {
		what    string
		of, not *plan.Plan
	}{{"closed", now, next}, {"listens", next, now}} {
		for i := range side.of.Grants {
			g := &side.of.Grants[i]
			if g.Kind == plan.GrantListen && !slices.ContainsFunc(side.not.Grants, func(other plan.Grant) bool { return plan.SameSocket(g, &other) }) {
				fmt.Fprintf(w, "  %-9s %s\n", side.what, policy.GrantText(g))
			}
		}
	}
}

// takenAlong finds the components that restart because others in their group
// do, as the supervisor will.
func takenAlong(g *plan.Group, restarted map[string]bool, along map[string]string) {
	for i, name := range g.Members {
		if !restarted[name] {
			continue
		}
		var others []string
		switch g.Strategy {
		case plan.OneForAll:
			others = append(slices.Clone(g.Members), inGroups(g.Groups)...)
		case plan.RestForOne:
			others = append(slices.Clone(g.Members[i+1:]), inGroups(g.Groups)...)
		}
		for _, other := range others {
			if !restarted[other] && along[other] == "" {
				along[other] = fmt.Sprintf("together with %s, as the group's strategy says", name)
			}
		}
	}
	for i := range g.Groups {
		takenAlong(&g.Groups[i], restarted, along)
	}
}

func inGroups(groups []plan.Group) []string {
	var all []string
	for i := range groups {
		all = append(append(all, groups[i].Members...), inGroups(groups[i].Groups)...)
	}
	return all
}
