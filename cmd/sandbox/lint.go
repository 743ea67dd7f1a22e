package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

func lintCommand() *cobra.Command {
	var list bool
	c := &cobra.Command{
		Use:     "lint FILE...",
		GroupID: "policy",
		Short:   "Look for rights that are allowed but too wide",
		Long:    "lint says which rights of a policy look too wide. Its exit status is 1 when there are any.",
		Args: func(c *cobra.Command, arguments []string) error {
			if list {
				return cobra.NoArgs(c, arguments)
			}
			return cobra.MinimumNArgs(1)(c, arguments)
		},
		RunE: func(_ *cobra.Command, files []string) error {
			if list {
				for _, rule := range policy.LintRules() {
					fmt.Printf("%-20s %s\n", rule[0], rule[1])
				}
				return nil
			}
			found := false
			for _, file := range files {
				loaded, p, err := compileFile(file, nil)
				if err != nil {
					return err
				}
				findings := policy.Lint(loaded, p)
				found = found || len(findings) > 0
				if err := policy.WriteFindings(os.Stdout, findings, colors(os.Stdout)); err != nil {
					return err
				}
			}
			if found {
				return exit(1)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&list, "rules", false, "list what it looks for")
	return c
}
