package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bulkhead/policy"
)

func initCommand() *cobra.Command {
	var unit string
	c := &cobra.Command{
		Use:     "init PROGRAM [ARGUMENT...]",
		GroupID: "policy",
		Short:   "Write a starting policy for a program",
		Long: `init writes a policy to start from: what the program is linked with, what its
Debian package installs, and what its systemd unit says, with a comment on
everything that a person must still decide.`,
		RunE: func(_ *cobra.Command, arguments []string) error {
			if unit == "" && len(arguments) == 0 {
				return fmt.Errorf("name a program, or a unit with --from-unit")
			}
			o := policy.InitOptions{}
			if len(arguments) > 0 {
				var err error
				if o.Program, err = findProgram(arguments[0]); err != nil {
					return err
				}
				o.Arguments = arguments[1:]
			}
			if unit != "" {
				text, err := os.ReadFile(unit)
				if err != nil {
					return fmt.Errorf("read the unit: %w", err)
				}
				o.Unit, o.UnitName = string(text), unit
			}
			return policy.Init(os.Stdout, o, policy.LocalHost())
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&unit, "from-unit", "", "translate the sandboxing of a systemd unit `FILE`, and say what has no equivalent")
	return c
}
