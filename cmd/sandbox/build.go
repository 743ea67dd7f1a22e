package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"bulkhead/broker/handover"
	"bulkhead/broker/launch"
)

// buildCommand is for the monitor only: it replaces a compartment whose init
// has died.
func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use: handover.BuildCommand, Hidden: true, Args: cobra.ExactArgs(4),
		RunE: func(_ *cobra.Command, arguments []string) error {
			component, err := strconv.Atoi(arguments[0])
			if err != nil {
				return fmt.Errorf("read the component's number: %w", err)
			}
			return launch.Build(component, arguments[1], arguments[2], arguments[3])
		},
	}
}
