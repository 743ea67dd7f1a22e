package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
)

func logsCommand() *cobra.Command {
	var following bool
	var lines int
	c := &cobra.Command{
		Use: "logs APPLICATION [COMPONENT]", GroupID: "look",
		Short: "Show what components wrote",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			r := control.Request{Verb: control.AskLogs, Lines: lines, Follow: following}
			if len(arguments) > 1 {
				r.Component = arguments[1]
			}
			terminal := colors(os.Stdout)
			return follow(arguments[0], r, func(reply control.Reply) error {
				if reply.Line == nil {
					return nil
				}
				_, err := fmt.Println(lineText(reply.Line, r.Component == "", terminal))
				return err
			})
		},
	}
	c.Flags().BoolVarP(&following, "follow", "f", false, "go on with what is written from now on")
	c.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines of the past")
	return c
}

// lineText writes a line as it came, and fit for a terminal when it goes there.
func lineText(l *control.Line, named, terminal bool) string {
	text := l.Text
	if terminal {
		text = inspect.Printable(text)
	}
	if l.Stream == 2 {
		text = inspect.Paint(terminal).Maybe(text)
	}
	if named {
		text = inspect.Paint(terminal).Title(l.Component) + ": " + text
	}
	return l.Time.Format("15:04:05.000") + " " + text
}
