package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A plan says how long to measure. Rounds go through all cases once, so that what else the machine does at
// some moment falls on all of them alike.
type plan struct {
	rounds int
	batch  time.Duration // how long one case is measured in one round
	budget time.Duration // no round begins that would end after this
	quick  bool          // without what takes seconds
}

func planFor(quick bool) plan {
	if quick {
		return plan{rounds: 12, batch: 60 * time.Millisecond, budget: 95 * time.Second, quick: true}
	}
	return plan{rounds: 24, batch: 100 * time.Millisecond, budget: 8 * time.Minute}
}

const (
	smallestBatch = 3    // samples; the slowest peers take some 40 ms each
	largestBatch  = 2000 // samples; enough for what takes microseconds
	seldomRounds  = 12   // of so many rounds, one takes what is seldom
	// The kernel takes mount namespaces and cgroups apart after the program has ended, and network namespaces
	// much later, many at once. Without a pause the next case would pay for the one before it.
	settle         = 15 * time.Millisecond
	settleNetworks = 100 * time.Millisecond
)

// A runner is a case that can run here, with what it has measured so far.
type runner struct {
	*benchCase
	argv    []string
	count   int       // samples in one batch
	batches []batch   // one for each round
	failed  error     // why it was given up
	skipped string    // why it was never run
	all     []float64 // every sample, in nanoseconds
}

// batch is the median of one round, by which a case is compared with its baseline of the same round.
type batch float64

func measure(ctx context.Context, w *workshop, chosen []*benchCase, p plan, progress io.Writer) (*Report, error) {
	begun := time.Now()
	var runners []*runner
	for _, c := range chosen {
		r := &runner{benchCase: c}
		r.prepare(ctx, w, p)
		runners = append(runners, r)
	}
	fmt.Fprintf(progress, "measuring %d cases in up to %d rounds of %s a case\n", len(runners), p.rounds, p.batch)
	rounds, last := 0, time.Duration(0)
	for ; rounds < p.rounds && (rounds == 0 || time.Since(begun)+last < p.budget); rounds++ {
		round := time.Now()
		for _, r := range runners {
			if r.skipped != "" || r.failed != nil || r.seldom && rounds%seldomRounds != 0 {
				continue
			}
			if err := r.round(ctx); err != nil {
				r.failed = err
			}
			if ctx.Err() != nil {
				return nil, errors.New("interrupted")
			}
			time.Sleep(r.settle())
		}
		last = time.Since(round)
	}
	fmt.Fprintf(progress, "%d rounds in %s\n", rounds, time.Since(begun).Round(time.Second))
	return newReport(runners, w.cgroups.mode, rounds), nil
}

// settle is how long the kernel is left alone after a batch.
func (r *runner) settle() time.Duration {
	if r.network {
		return settleNetworks
	}
	return settle
}

// prepare finds the command, warms up, and sizes the batches.
func (r *runner) prepare(ctx context.Context, w *workshop, p plan) {
	if pkg := r.missing(); pkg != "" {
		r.skipped = fmt.Sprintf("skipped, because Debian's package %s is not installed (-install brings it)", pkg)
		return
	}
	if p.quick && r.seldom {
		r.skipped = "skipped, because it takes seconds (make bench has it)"
		return
	}
	argv, err := r.command(w)
	if why := unable(""); errors.As(err, &why) {
		r.skipped = why.Error()
		return
	}
	if err != nil {
		r.failed = err
		return
	}
	r.argv = argv
	if r.seldom {
		r.count = 1
		return
	}
	warm, err := r.run(ctx, smallestBatch)
	if err != nil {
		r.failed = err
		return
	}
	r.count = min(max(int(float64(p.batch)/median(warm)), smallestBatch), largestBatch)
	if r.group.rested {
		r.count = smallestBatch
	}
	if p.quick {
		return
	}
	if _, err := r.run(ctx, r.count); err != nil {
		r.failed = err
	}
}

func (r *runner) round(ctx context.Context) error {
	samples, err := r.run(ctx, r.count)
	if err != nil {
		return err
	}
	r.batches = append(r.batches, batch(median(samples)))
	r.all = append(r.all, samples...)
	return nil
}

// run takes n samples.
func (r *runner) run(ctx context.Context, n int) ([]float64, error) {
	patience := patience
	if r.seldom {
		patience = seldomPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(ctx, r.argv[0], slices.Concat([]string{strconv.Itoa(n)}, r.argv[1:])...)
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	command.Dir = "/"
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "LC_ALL=C"}
	// A group of its own, so that what the batch has started ends with it when the time is up.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("no end within %s", patience)
		}
		return nil, fmt.Errorf("%w: %s", err, firstLines(complaints.String()))
	}
	samples := make([]float64, 0, n)
	for line := range strings.Lines(out.String()) {
		ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil || ns <= 0 {
			return nil, fmt.Errorf("%s printed %q where a sample was due", r.argv[0], line)
		}
		samples = append(samples, float64(ns))
	}
	if len(samples) != n {
		return nil, fmt.Errorf("%s printed %d samples, not %d", r.argv[0], len(samples), n)
	}
	return samples, nil
}

// firstLines keeps a program's complaints short enough for a table.
func firstLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(len(lines), 3)], "; ")
}
