package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"bulkhead/broker/handover"
	"bulkhead/broker/launch"
)

// buildCommand is for the keeper only: it replaces a compartment whose init
// has died, and builds those that a reload changes.
func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use: handover.BuildCommand, Hidden: true, Args: cobra.ExactArgs(4),
		RunE: func(_ *cobra.Command, arguments []string) error {
			monitor, err := strconv.Atoi(arguments[3])
			if err != nil {
				return err
			}
			return launch.Build(arguments[0], arguments[1], arguments[2], monitor)
		},
	}
}
