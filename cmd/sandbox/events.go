package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
)

func eventsCommand() *cobra.Command {
	var following, asJSON bool
	var lines int
	c := &cobra.Command{
		Use: "events APPLICATION [COMPONENT]", GroupID: "look",
		Short: "Show what happened to an application, each event with its cause",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, arguments []string) error {
			r := control.Request{Verb: control.AskEvents, Lines: lines, Follow: following}
			if len(arguments) > 1 {
				r.Component = arguments[1]
			}
			encoder := json.NewEncoder(os.Stdout)
			paint := outPaint()
			return follow(arguments[0], r, func(reply control.Reply) error {
				if reply.Event == nil {
					return nil
				}
				if asJSON {
					return encoder.Encode(reply.Event)
				}
				_, err := fmt.Println(eventText(reply.Event, paint))
				return err
			})
		},
	}
	c.Flags().BoolVarP(&following, "follow", "f", false, "go on with what happens from now on")
	c.Flags().BoolVar(&asJSON, "json", false, "a line of JSON for each event")
	c.Flags().IntVarP(&lines, "lines", "n", 1000, "how many events of the past")
	return c
}

func eventText(e *control.Event, paint inspect.Paint) string {
	text := e.Time.Format("15:04:05.000") + " " + fmt.Sprintf("%-11s ", e.Kind)
	if e.Component != "" {
		text += paint.Title(e.Component) + ": "
	}
	if e.From != "" || e.To != "" {
		text += string(e.From) + " → " + paintState(e.To, paint) + ": "
	}
	text += inspect.Printable(e.Text)
	if e.PID != 0 {
		text += fmt.Sprintf(" (process %d)", e.PID)
	}
	if e.Allow != "" {
		text += "; to allow it: " + inspect.Printable(e.Allow)
	}
	return text
}
