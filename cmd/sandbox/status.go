package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status APPLICATION", GroupID: "look",
		Short: "Show the life cycle of an application's components",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			s, err := status(arguments[0])
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			fmt.Print(statusText(s, outPaint()))
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, as on the control socket")
	return c
}

func statusText(s *control.Status, paint inspect.Paint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, up %s, policy %s\n", paint.Title(s.Application), paintState(s.State, paint), inspect.Span(s.Now.Sub(s.Started)), s.Policy)
	if s.Cause != "" {
		fmt.Fprintf(&b, "  %s\n", inspect.Printable(s.Cause))
	}
	t := inspect.NewTable("  ", heading(paint, "COMPONENT", "STATE", "FOR", "WORKERS", "RESTARTS", "DENIED", "WHY")...)
	for k := range s.Components {
		c := &s.Components[k]
		t.Row(c.Name, paintState(c.State, paint), inspect.Span(s.Now.Sub(c.Since)), workersText(c),
			fmt.Sprint(c.Restarts), fmt.Sprint(c.Denied), inspect.Printable(whyText(c, s.Now)))
	}
	b.WriteString(t.String())
	for _, l := range s.Logs {
		logTrouble(&b, l, paint)
	}
	for k := range s.Components {
		lastWords(&b, &s.Components[k], paint)
	}
	return b.String()
}

func paintState(state control.State, paint inspect.Paint) string {
	switch state {
	case control.Running, control.Started:
		return paint.Good(string(state))
	case control.Failed:
		return paint.Bad(string(state))
	case control.Starting, control.Stopping:
		return paint.Maybe(string(state))
	}
	return string(state)
}

func workersText(c *control.Component) string {
	text := fmt.Sprint(c.Running)
	if c.Queue > 0 {
		text += fmt.Sprintf(" (%d wait)", c.Queue)
	}
	return text
}

// whyText says what an administrator would ask next.
func whyText(c *control.Component, now time.Time) string {
	var parts []string
	if c.Says != "" {
		parts = append(parts, fmt.Sprintf("says %q", c.Says))
	}
	if c.Health != "" && c.Health != "healthy" {
		parts = append(parts, c.Health)
	}
	if len(c.WaitsFor) > 0 {
		parts = append(parts, "waits for "+joined(c.WaitsFor))
	}
	if c.Frozen {
		parts = append(parts, "frozen")
	}
	if c.Pinned != "" {
		parts = append(parts, "pinned "+c.Pinned)
	}
	if c.Released {
		parts = append(parts, "released")
	}
	if c.RestartAt != nil {
		parts = append(parts, "restarts in "+inspect.Span(c.RestartAt.Sub(now)))
	}
	if c.Cause != "" {
		parts = append(parts, c.Cause)
	}
	if c.Total > 0 && c.Start != "with-application" {
		parts = append(parts, fmt.Sprintf("%d workers so far, %d ended badly", c.Total, c.Abnormal))
	}
	return strings.Join(parts, "; ")
}

// logTrouble is what is wrong with a log.
func logTrouble(b *strings.Builder, l control.Log, paint inspect.Paint) {
	if l.Full {
		fmt.Fprintf(b, "  log %s: %s\n", l.Name, paint.Bad("cannot be written"))
	}
	if l.Dropped > 0 {
		fmt.Fprintf(b, "  log %s: %s\n", l.Name, paint.Bad(fmt.Sprintf("%d lines were dropped", l.Dropped)))
	}
}

// lastWords are the last lines of a component that failed.
func lastWords(b *strings.Builder, c *control.Component, paint inspect.Paint) {
	if c.State != control.Failed || len(c.Lines) == 0 {
		return
	}
	fmt.Fprintf(b, "  last lines of %s:\n", paint.Title(c.Name))
	for _, line := range c.Lines {
		fmt.Fprintf(b, "    %s\n", inspect.Printable(line.Text))
	}
}
