package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/broker/launch"
	"bulkhead/sandbox"
)

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "doctor",
		GroupID: "look",
		Short:   "Say what this kernel and this user can enforce",
		Long:    "doctor prints what can be enforced here and what to do about the rest. Its exit status is 1 when something that every application needs is missing.",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			findings := sandbox.Examine()
			programs := sandbox.Finding{Subject: "programs", Needed: true, Enforced: true, Detail: "monitor, builder, supervisor, init, stub, sweeper and keeper are there"}
			if _, err := launch.Find(); err != nil {
				programs.Enforced, programs.Detail, programs.Advice = false, "not found", err.Error()
			}
			findings = append(findings, programs)
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(findings)
			}
			missing := false
			for _, f := range findings {
				mark := "yes"
				if !f.Enforced {
					mark = "no"
					missing = missing || f.Needed
				}
				fmt.Printf("%-4s %-22s %s\n", mark, f.Subject, f.Detail)
				if f.Advice != "" {
					fmt.Printf("     %-22s %s\n", "", f.Advice)
				}
			}
			if missing {
				return exit(1)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
