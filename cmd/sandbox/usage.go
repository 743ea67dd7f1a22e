package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// sayUsage has every command say how it is used where its arguments or flags are
// wrong: the library says "accepts 1 arg(s), received 0", of no command.
func sayUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		text := err.Error()
		var number *strconv.NumError
		if errors.As(err, &number) { // which names the value again, and a function of Go
			text = strings.Replace(text, number.Error(), number.Err.Error(), 1)
		}
		return fmt.Errorf("%s; %s --help lists the flags", text, c.CommandPath())
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

// execute executes a command line. Of a command that is not there the library says
// so in several lines, or in one without what to do.
func execute(c *cobra.Command, arguments []string) error {
	c.SetArgs(arguments)
	err := c.Execute()
	if _, _, lost := c.Find(arguments); err == nil || lost == nil {
		return err
	}
	unknown := ""
	for _, word := range arguments {
		if !strings.HasPrefix(word, "-") {
			unknown = word
			break
		}
	}
	text := "there is no command sandbox " + unknown
	if near := c.SuggestionsFor(unknown); len(near) > 0 {
		text += " (there is " + strings.Join(near, ", ") + ")"
	}
	return errors.New(text + "; sandbox --help lists them all")
}
