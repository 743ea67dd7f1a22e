package main

import (
	"os"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

func diffCommand() *cobra.Command {
	var noNewRights, asJSON bool
	c := &cobra.Command{
		Use:     "diff BEFORE AFTER",
		GroupID: "policy",
		Short:   "Say in words which rights one policy has and the other has not",
		Long: `diff compares two policy files. Its exit status is 0; with --no-new-rights it
is 1 when AFTER gives a right that BEFORE does not, for use in a pipeline.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, files []string) error {
			before, beforePlan, err := compileFile(files[0], nil)
			if err != nil {
				return err
			}
			after, afterPlan, err := compileFile(files[1], nil)
			if err != nil {
				return err
			}
			d := policy.Diff(before, beforePlan, after, afterPlan)
			write := d.Write
			if asJSON {
				write = d.WriteJSON
			}
			if err := write(os.Stdout); err != nil {
				return err
			}
			if noNewRights && len(d.Gained) > 0 {
				return exit(1)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&noNewRights, "no-new-rights", false, "fail when AFTER gives more")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
