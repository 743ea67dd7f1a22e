package main

import (
	"fmt"
	"io"
	"os"
	"strings"

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
		Long: "Shows the last lines of components, which the broker keeps: at most 256 of each, 16 KiB. Older ones are where logs: sends them:\n" +
			"in a file, or, for logs: journald, in the journal, with\n\n  journalctl BULKHEAD_APPLICATION=APPLICATION BULKHEAD_COMPONENT=COMPONENT",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			r := control.Request{Verb: control.AskLogs, Lines: lines, Follow: following}
			if len(arguments) > 1 {
				r.Component = arguments[1]
			}
			terminal := colors(os.Stdout)
			if terminal && !following {
				defer olderLines(os.Stderr, arguments[0], r.Component)
			}
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

// olderLines says where the lines are that the broker keeps no more.
func olderLines(w io.Writer, application, component string) {
	s, err := status(application)
	if err != nil {
		return // as the command has said
	}
	for _, text := range olderText(s, component) {
		fmt.Fprintln(w, text)
	}
}

func olderText(s *control.Status, component string) []string {
	var all []string
	journald := false
	for _, l := range s.Logs {
		of, is := strings.CutPrefix(l.Name, "journald:")
		switch {
		case !is:
			all = append(all, "older lines: "+l.Name)
		case component == "" && !journald:
			all = append(all, "older lines: journalctl BULKHEAD_APPLICATION="+s.Application)
			journald = true
		case component == of:
			all = append(all, "older lines: journalctl BULKHEAD_APPLICATION="+s.Application+" BULKHEAD_COMPONENT="+of)
		}
	}
	return all
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
