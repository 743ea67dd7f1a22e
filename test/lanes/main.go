// Command lanes runs several targets of make one after the other, all of them
// whatever fails, and ends with what ran in each, what did not and why. Its exit
// status is 1 when one failed, or did not end in time.
//
//	lanes [-make make] [-within 37m] TARGET...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"bulkhead/test/summary"
)

// lane is what became of one target.
type lane struct {
	target  string
	took    time.Duration
	failure string // empty: it is good
	counted bool   // a report counted its tests
	tests   summary.Summary
}

func main() {
	program := flag.String("make", "make", "the make that runs the targets")
	within := flag.Duration("within", time.Hour, "how long all of them may take together")
	flag.Parse()
	interrupted, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	until, cancel := context.WithTimeoutCause(interrupted, *within, fmt.Errorf("the %s that all may take are over", *within))
	defer cancel()
	var lanes []lane
	for _, target := range flag.Args() {
		fmt.Printf("==== make %s\n", target)
		lanes = append(lanes, run(until, *program, target))
	}
	if !write(os.Stdout, lanes) {
		os.Exit(1)
	}
}

func run(until context.Context, program, target string) (l lane) {
	l.target = target
	if until.Err() != nil {
		l.failure = fmt.Sprintf("did not run: %v", context.Cause(until))
		return l
	}
	started := time.Now()
	defer func() { l.took = time.Since(started) }()
	dir, err := os.MkdirTemp("", "lane")
	if err != nil {
		l.failure = fmt.Sprintf("did not run: %v", err)
		return l
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "summary")
	command := exec.Command(program, "--no-print-directory", target)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), "TEST_SUMMARY="+file)
	// A group of its own, to be ended as a whole.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = await(until, command)
	tests, runs, unreadable := summary.Load(file)
	l.tests, l.counted = tests, runs > 0
	switch {
	case until.Err() != nil:
		l.failure = fmt.Sprintf("did not end: %v", context.Cause(until))
	case err != nil:
		l.failure = fmt.Sprintf("make %s: %v", target, err)
	case unreadable != nil:
		l.failure = unreadable.Error()
	}
	return l
}

// await runs the command, and ends its group when the time is over: politely at
// first, because report then says what had ended until then.
func await(until context.Context, command *exec.Cmd) error {
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-until.Done():
	}
	group := -command.Process.Pid
	syscall.Kill(group, syscall.SIGTERM)
	for range 150 {
		if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	syscall.Kill(group, syscall.SIGKILL)
	return <-ended
}

func write(out io.Writer, lanes []lane) (good bool) {
	good = true
	fmt.Fprintf(out, "\n==== all lanes: what did not run, and why\n")
	for _, l := range lanes {
		if l.counted {
			fmt.Fprintf(out, "%s\n", l.target)
			l.tests.WriteAbsent(out)
		}
	}
	fmt.Fprintln(out, "\n==== all lanes: what ran")
	for _, l := range lanes {
		word, more := "ok", ""
		if l.counted {
			more = l.tests.Counts()
		}
		if l.failure != "" {
			word, good = "FAILED", false
		}
		fmt.Fprintf(out, "%-8s %-12s %8s  %s\n", word, l.target, l.took.Round(time.Second), more)
	}
	for _, l := range lanes {
		if l.failure == "" {
			continue
		}
		fmt.Fprintf(out, "failed: %s\n", l.failure)
		l.tests.WriteFailures(out)
	}
	return good
}
