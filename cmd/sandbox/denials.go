package main

import (
	"bufio"
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
	var asJSON, apply bool
	a := appliance{in: bufio.NewReader(os.Stdin), paint: outPaint()}
	c := &cobra.Command{
		Use: "denials [APPLICATION]", GroupID: "look",
		Short: "Show what components tried and were refused, with the line to allow it",
		Long: `denials shows what components tried and were refused, and the policy line that
would allow each.

With --apply it asks for each line whether to add it, shows what changes, asks
again, and writes the lines into policy.d/90-denials-APPLICATION.yaml beside the
policy. The policy file itself is never touched. Think before you say yes: what a
component tried may be an attack.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			names, err := running(arguments)
			if err != nil {
				return err
			}
			if apply {
				if len(names) != 1 {
					return fmt.Errorf("--apply needs the name of one application; %d run", len(names))
				}
				if a.status, err = status(names[0]); err != nil {
					return err
				}
				return a.run()
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
	c.Flags().BoolVar(&apply, "apply", false, "write the lines into a drop-in of the policy, after showing them and asking")
	c.Flags().BoolVar(&a.yes, "yes", false, "with --apply: add all lines without asking")
	c.Flags().StringVar(&a.file, "policy", "", "with --apply: the policy `FILE`, where it is not where the application was started from")
	c.Flags().StringArrayVar(&a.set, "set", nil, "with --apply: the overrides that the application was started with, `KEY=VALUE`")
	c.MarkFlagsMutuallyExclusive("json", "apply")
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
	groups := proposals(s)
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
			fmt.Fprintf(&b, "      to allow it: %s\n", paint.Maybe(inspect.Printable(g.line)))
		}
	}
	if s.MoreDenials > 0 {
		fmt.Fprintf(&b, "  and %d denials of further kinds that found no place\n", s.MoreDenials)
	}
	return b.String()
}
