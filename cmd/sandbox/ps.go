package main

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/broker/control"
	"bulkhead/broker/inspect"
)

func psCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ps [APPLICATION]", GroupID: "look",
		Short: "List the workers of running applications",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			names, err := running(arguments)
			if err != nil {
				return err
			}
			workers := map[string][]control.Worker{}
			for _, name := range names {
				reply, err := ask(name, control.Request{Verb: control.AskPS}, nil)
				if len(arguments) == 0 && hasEnded(err) {
					continue
				}
				if err != nil {
					return err
				}
				workers[name] = reply.Workers
			}
			fmt.Print(psText(names, workers, time.Now(), outPaint()))
			return nil
		},
	}
}

// hasEnded says whether an application could not be asked because it ended
// meanwhile, or long ago: then its next start sweeps what was left of it.
func hasEnded(err error) bool {
	for _, end := range []error{errNotRunning, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, control.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func psText(names []string, workers map[string][]control.Worker, now time.Time, paint inspect.Paint) string {
	t := inspect.NewTable("", heading(paint, "APPLICATION", "COMPONENT", "WORKER", "PID", "UP", "FOR")...)
	for _, name := range names {
		for _, w := range workers[name] {
			asked := "-"
			if w.For != 0 {
				asked = fmt.Sprintf("worker %d", w.For)
			}
			t.Row(name, w.Component, strconv.Itoa(int(w.Worker)), strconv.Itoa(int(w.PID)), inspect.Span(now.Sub(w.Started)), asked)
		}
	}
	return t.String()
}

func heading(paint inspect.Paint, names ...string) []string {
	for k := range names {
		names[k] = paint.Title(names[k])
	}
	return names
}
