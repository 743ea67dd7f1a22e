package main

import (
	"os"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

func explainCommand() *cobra.Command {
	var set []string
	var filter, asJSON bool
	c := &cobra.Command{
		Use:     "explain FILE [COMPONENT]",
		GroupID: "policy",
		Short:   "Say in words every right that a policy gives, and the line that gives it",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			loaded, p, err := compileFile(arguments[0], set)
			if err != nil {
				complain(err)
				return exit(1)
			}
			component := ""
			if len(arguments) == 2 {
				component = arguments[1]
			}
			switch {
			case filter:
				return policy.ExplainFilter(os.Stdout, p, component)
			case asJSON:
				return policy.ExplainJSON(os.Stdout, loaded, p, component)
			}
			return policy.Explain(os.Stdout, loaded, p, component)
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "override a value of the policy: `KEY=VALUE`")
	c.Flags().BoolVar(&filter, "seccomp", false, "print the system call filter as readable rules")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	c.MarkFlagsMutuallyExclusive("seccomp", "json")
	return c
}
