package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
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
			workers, err := workersOf(names, len(arguments) == 0)
			if err != nil && len(names) == 1 {
				return err
			}
			fmt.Print(psText(names, workers, time.Now(), outPaint()))
			return err
		},
	}
}

// workersOf asks all of the applications at once: one whose supervisor does not
// answer is told, and hides no other.
func workersOf(names []string, mayHaveEnded bool) (map[string][]control.Worker, error) {
	replies, failed := make([]control.Reply, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { replies[i], failed[i] = ask(name, control.Request{Verb: control.AskPS}, nil) })
	}
	all.Wait()
	workers := map[string][]control.Worker{}
	for i, name := range names {
		if mayHaveEnded && hasEnded(failed[i]) {
			failed[i] = nil
		}
		workers[name] = replies[i].Workers
	}
	return workers, errors.Join(failed...)
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
