package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"bulkhead/sandbox/observe"
)

// observedCommand is for learn and split only: the process that becomes the
// program which they observe.
func observedCommand() *cobra.Command {
	return &cobra.Command{
		Use: observe.StageCommand, Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			socket, err := strconv.Atoi(arguments[0])
			if err != nil {
				return fmt.Errorf("read the socket's number: %w", err)
			}
			return observe.Stage(socket)
		},
	}
}
