package main

import (
	"github.com/spf13/cobra"
)

func splitCommand() *cobra.Command {
	l := learning{split: true}
	c := &cobra.Command{
		Use:     "split [flags] -- PROGRAM [ARGUMENT...]",
		GroupID: "policy",
		Short:   "Watch a daemon of several programs, and propose how to split it",
		Long: `split runs PROGRAM, unconfined, as learn does, while you give it its real work. When
it has ended, or after ^C, split prints who executed whom, and a policy in which
every program that was executed is a component of its own (start: on-exec), with
the files, sockets and addresses that it used. It is a proposal: put programs that
belong together into one component, and look at what two components share.

A daemon that runs already cannot be watched: a filter must be there from the start.`,
		Example: `  sandbox split --output postfix.yaml -- /usr/lib/postfix/sbin/master -d
  sandbox split --record git.json -- /usr/bin/git daemon --reuseaddr --base-path=/srv/git`,
		RunE: func(c *cobra.Command, arguments []string) error { return l.run(arguments, c.ArgsLenAtDash()) },
	}
	l.flags(c)
	return c
}
