package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"bulkhead/broker/wire"
)

// Worker is a worker of another component that this process started.
type Worker struct {
	Component string
	Number    uint32

	broker *Broker
	ended  chan struct{} // closed when result and err are known
	result Result
	err    error
}

// How says in which way a worker ended.
type How uint32

// The ways to end.
const (
	Exited   How = wire.Exited
	Signaled How = wire.Signaled
	NotRun   How = wire.NotRun
)

// Result is how a worker ended.
type Result struct {
	How    How
	Code   int    // the exit status, the signal or the errno
	Reason string // in words; empty for a worker that exited by itself
}

// OK says whether the worker exited with status 0.
func (r Result) OK() bool { return r.How == Exited && r.Code == 0 }

// Limit returns the policy's key of the limit that ended the worker, or "".
func (r Result) Limit() string {
	if name, _, found := strings.Cut(r.Reason, " limit of "); found {
		return name
	}
	return ""
}

// String says in words how the worker ended.
func (r Result) String() string {
	switch {
	case r.Reason != "":
		return r.Reason
	case r.How == Exited:
		return fmt.Sprintf("exited with status %d", r.Code)
	case r.How == Signaled:
		return fmt.Sprintf("killed by signal %d (%v)", r.Code, syscall.Signal(r.Code))
	default:
		return fmt.Sprintf("not run: %v", syscall.Errno(r.Code))
	}
}

// Start starts a worker of component and returns when it runs. files maps
// descriptor numbers of the new worker to files of this process. While every
// worker of the component is busy Start waits in the policy's queue; when
// that is full it fails with syscall.EAGAIN.
func (b *Broker) Start(component string, files map[int]*os.File) (*Worker, error) {
	var numbers []int
	for n := range files {
		if n < 0 || n > 0xffff {
			return nil, &fs.PathError{Op: "start", Path: component, Err: syscall.EBADF}
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var sent []*os.File
	for _, n := range numbers {
		sent = append(sent, files[n])
	}
	w := &Worker{Component: component, broker: b, ended: make(chan struct{})}
	_, err := b.request(&call{op: wire.Start, worker: w}, "start", component, func(m *wire.Message) {
		m.String(component).U16(uint16(len(numbers)))
		for _, n := range numbers {
			m.U16(uint16(n))
		}
	}, sent...)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Wait waits until the worker has ended. When ctx ends first the worker runs
// on and may be waited for again.
func (w *Worker) Wait(ctx context.Context) (Result, error) {
	select {
	case <-w.ended:
		return w.result, w.err
	default:
	}
	select {
	case <-w.ended:
		return w.result, w.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Cancel kills the worker. Its Result still comes, so Wait afterwards. A
// worker that has ended already is no error: that is what was wanted.
func (w *Worker) Cancel() error {
	select {
	case <-w.ended:
		return nil
	default:
	}
	err := w.broker.nothing(wire.Cancel, "cancel", w.Component, func(m *wire.Message) { m.U32(w.Number) })
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (w *Worker) end(r Result, err error) {
	w.result, w.err = r, err
	close(w.ended)
}
