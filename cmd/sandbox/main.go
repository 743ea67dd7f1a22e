// Command sandbox runs an application of separated components from a policy,
// checks policies, and shows what is enforced.
//
// Exit codes: 125 Bulkhead itself failed, 126 a program could not be executed,
// 127 it was not found, 128+n it died by signal n, else the program's own.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

// version is set by the build.
var version = "development"

// exitFailed is the status when Bulkhead itself fails.
const exitFailed = 125

// exit is an error that is nothing but an exit status: what there was to say
// has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	err := execute(root(), os.Args[1:])
	var status exit
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		complain(err)
		os.Exit(exitFailed)
	}
}

// complain prints an error as a person should see it.
func complain(err error) {
	var problems *policy.Problems
	if errors.As(err, &problems) {
		fmt.Fprint(os.Stderr, problems.Render(colors(os.Stderr)))
		return
	}
	// Several components may have failed at once, each with a line.
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(os.Stderr, "sandbox:", strings.TrimSuffix(line, "\n"))
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "sandbox",
		Short: "Run applications whose components are separated by the kernel's walls",
		Long: `sandbox runs a multi-process application from a policy file. Every component
runs in a compartment of its own, and nothing crosses a wall except file
descriptors that a monitor hands over.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,

		SuggestionsMinimumDistance: 2,
	}
	c.AddGroup(
		&cobra.Group{ID: "run", Title: "Running:"},
		&cobra.Group{ID: "policy", Title: "Policies:"},
		&cobra.Group{ID: "look", Title: "Looking:"},
	)
	c.AddCommand(runCommand(), upCommand(), reloadCommand(), installCommand(), wrapCommand(), observedCommand())
	c.AddCommand(checkCommand(), explainCommand(), diffCommand(), lintCommand(), schemaCommand(), initCommand(), learnCommand(), splitCommand())
	c.AddCommand(inspectCommand(), doctorCommand())
	c.AddCommand(controlCommands()...)
	for _, command := range extra {
		c.AddCommand(command())
	}
	sayUsage(c)
	return c
}

// extra are commands of special builds.
var extra []func() *cobra.Command
