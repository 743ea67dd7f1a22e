package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// sayUsage has every command say how it is used where its arguments or flags are
// wrong: the library says "accepts 1 arg(s), received 0", of no command.
func sayUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, c.CommandPath())
	})
	for _, sub := range c.Commands() {
		sayUsage(sub)
	}
	if right := c.Args; right != nil {
		c.Args = func(c *cobra.Command, arguments []string) error {
			if right(c, arguments) == nil {
				return nil
			}
			given := "without an argument"
			if len(arguments) > 0 {
				given = "with " + strings.Join(arguments, " ")
			}
			return fmt.Errorf("%s was called %s; it is %s", c.CommandPath(), given, c.UseLine())
		}
	}
}
