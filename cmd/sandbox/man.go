//go:build man

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func init() { extra = append(extra, manCommand) }

// manCommand writes the manual pages of all commands, for packages. It is built
// with the tag man only: the generator is not part of the program.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Write the manual pages",
		RunE: func(c *cobra.Command, arguments []string) error {
			if err := os.MkdirAll(arguments[0], 0o755); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			// A fixed date: the same bytes from the same source.
			day := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
			header := &doc.GenManHeader{Section: "8", Source: "Bulkhead " + version, Manual: "Bulkhead", Date: &day}
			root := c.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, header, arguments[0])
		},
	}
}
