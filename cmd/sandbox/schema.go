package main

import (
	"os"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		GroupID: "policy",
		Short:   "Print the JSON Schema of policies, for editors",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return policy.WriteSchema(os.Stdout) },
	}
}
