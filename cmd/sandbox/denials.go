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

func denialsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "denials [APPLICATION]", GroupID: "look",
		Short: "Show what components tried and were refused, with the line to allow it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			names, err := running(arguments)
			if err != nil {
				return err
			}
			encoder := json.NewEncoder(os.Stdout)
			for _, name := range names {
				s, err := status(name)
				if err != nil {
					return err
				}
				if asJSON {
					for k := range s.Denials {
						if err := encoder.Encode(&s.Denials[k]); err != nil {
							return err
						}
					}
					continue
				}
				fmt.Print(denialsText(s, outPaint()))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "a line of JSON for each denial")
	return c
}

// denialsText groups by component, then by the line that would allow several
// things at once.
func denialsText(s *control.Status, paint inspect.Paint) string {
	var b strings.Builder
	if len(s.Denials) == 0 {
		fmt.Fprintf(&b, "%s: nothing was refused\n", paint.Title(s.Application))
		return b.String()
	}
	fmt.Fprintf(&b, "%s\n", paint.Title(s.Application))
	type group struct {
		component, allow string
		denials          []control.Denial
	}
	var groups []*group
	byLine := map[[2]string]*group{}
	for _, d := range s.Denials {
		key := [2]string{d.Component, d.Allow}
		g := byLine[key]
		if g == nil {
			g = &group{component: d.Component, allow: d.Allow}
			byLine[key] = g
			groups = append(groups, g)
		}
		g.denials = append(g.denials, d)
	}
	for _, c := range s.Components {
		named := false
		for _, g := range groups {
			if g.component != c.Name {
				continue
			}
			if !named {
				fmt.Fprintf(&b, "  %s\n", paint.Title(c.Name))
				named = true
			}
			for _, d := range g.denials {
				fmt.Fprintf(&b, "    %d× %s: %s, last %s ago\n", d.Count, inspect.Printable(d.Tried), d.Answer, inspect.Span(s.Now.Sub(d.Last).Truncate(time.Second)))
			}
			fmt.Fprintf(&b, "      to allow it: %s\n", paint.Maybe(inspect.Printable(g.allow)))
		}
	}
	if s.MoreDenials > 0 {
		fmt.Fprintf(&b, "  and %d denials of further kinds that found no place\n", s.MoreDenials)
	}
	return b.String()
}
