package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/broker/inspect"
)

// inspection is what the flags of sandbox inspect ask for.
type inspection struct {
	json, verify, watch bool
	interval            time.Duration
	blast, html         string
}

func inspectCommand() *cobra.Command {
	var n inspection
	c := &cobra.Command{
		Use: "inspect [APPLICATION [COMPONENT] | PID]", GroupID: "look",
		Short: "Show what the kernel enforces, and where it is not what the policy says",
		Long: `inspect asks the kernel, not the policy. Without arguments it shows every
component of every running application in a line; of an APPLICATION or one
COMPONENT everything; of a PID, Bulkhead's or not, the same audit.

Reading the system call filters back stops a process for some microseconds, so
it is done for a COMPONENT or a PID only, and with --verify.

With --html it writes a page for a browser, with a drawing of the components,
their walls and the descriptors that flow between them. The page needs no other
file, loads nothing and runs nothing. With --watch it is written again and again,
and the browser follows.

Where the kernel has something else than the policy asks for, that is drift:
--verify prints nothing else and ends with status 1 when there is any.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(_ *cobra.Command, arguments []string) error { return n.run(arguments) },
	}
	f := c.Flags()
	f.BoolVar(&n.json, "json", false, "as JSON; docs/inspect.md describes it")
	f.BoolVar(&n.verify, "verify", false, "only compare with the policy; status 1 when something differs")
	f.StringVar(&n.html, "html", "", "write a page for a browser to `FILE`, - for the standard output")
	f.BoolVar(&n.watch, "watch", false, "show it again and again")
	f.DurationVar(&n.interval, "interval", 2*time.Second, "how often, with --watch")
	f.StringVar(&n.blast, "blast-radius", "", "say what a compromised `COMPONENT` of the application could reach")
	c.MarkFlagsMutuallyExclusive("verify", "watch", "blast-radius")
	c.MarkFlagsMutuallyExclusive("html", "json")
	c.MarkFlagsMutuallyExclusive("html", "blast-radius")
	return c
}

func (n *inspection) run(arguments []string) error {
	if n.watch && n.interval < 100*time.Millisecond {
		return fmt.Errorf("--interval %v: the shortest is 100ms", n.interval)
	}
	// A look is short: collecting what it leaves costs more than it frees.
	debug.SetGCPercent(800)
	for {
		base := bases()[0]
		if len(arguments) > 0 {
			base = baseOf(arguments[0])
		}
		inspector, err := inspect.New(base)
		if err != nil {
			return err
		}
		text, status, err := n.look(inspector, arguments)
		if err != nil {
			return err
		}
		if n.watch && n.html == "" && colors(os.Stdout) {
			fmt.Print("\x1b[H\x1b[2J")
		}
		fmt.Print(text)
		if status != 0 {
			return exit(status)
		}
		if !n.watch {
			return nil
		}
		time.Sleep(n.interval)
	}
}

func (n *inspection) look(inspector *inspect.Inspector, arguments []string) (text string, status int, err error) {
	paint := outPaint()
	if len(arguments) == 1 {
		if pid, err := strconv.Atoi(arguments[0]); err == nil {
			return n.lookAtProcess(inspector, pid, paint)
		}
	}
	depth := inspect.Full
	switch {
	case len(arguments) == 2 || n.verify:
		depth = inspect.Filters
	case len(arguments) == 0 && n.html == "":
		depth = inspect.Glance
	}
	r, err := inspector.Applications(depth, arguments[:min(len(arguments), 1)]...)
	var gone *inspect.NotRunning
	if errors.As(err, &gone) {
		return "", 0, notRunning(gone.Application)
	}
	if err != nil {
		return "", 0, err
	}
	if n.blast != "" {
		return n.lookAtRadius(r, arguments, paint)
	}
	component := ""
	if len(arguments) == 2 {
		component = arguments[1]
		if err := r.Only(component); err != nil {
			return "", 0, err
		}
	}
	if n.verify && len(r.Drifts())+len(r.Problems()) > 0 {
		status = 1
	}
	switch {
	case n.html != "":
		text, err = n.page(r)
		return text, status, err
	case n.json:
		text, err = asJSON(r)
		return text, status, err
	case n.verify:
		return inspect.Verification(r, paint), status, nil
	case len(arguments) == 0:
		return inspect.List(r, paint), 0, nil
	}
	return inspect.Details(r, component, paint), 0, nil
}

func (n *inspection) lookAtProcess(inspector *inspect.Inspector, pid int, paint inspect.Paint) (string, int, error) {
	if n.verify || n.blast != "" {
		return "", 0, fmt.Errorf("process %d: only an application has a policy to compare with", pid)
	}
	r, err := inspector.Process(pid)
	if err != nil {
		return "", 0, err
	}
	switch {
	case n.html != "":
		text, err := n.page(r)
		return text, 0, err
	case n.json:
		text, err := asJSON(r)
		return text, 0, err
	}
	return inspect.ProcessDetails(r, paint), 0, nil
}

func (n *inspection) lookAtRadius(r *inspect.Report, arguments []string, paint inspect.Paint) (string, int, error) {
	if len(arguments) != 1 {
		return "", 0, errors.New("--blast-radius needs the name of one application: sandbox inspect --blast-radius COMPONENT APPLICATION")
	}
	radius, err := r.BlastRadius(n.blast)
	if err != nil {
		return "", 0, err
	}
	if n.json {
		text, err := asJSON(radius)
		return text, 0, err
	}
	return inspect.RadiusText(radius, paint), 0, nil
}

// page writes the report for a browser. What it returns is for the terminal.
func (n *inspection) page(r *inspect.Report) (string, error) {
	page := inspect.Page{Report: r}
	if n.watch {
		page.Refresh = n.interval
	}
	var b bytes.Buffer
	if err := page.Write(&b); err != nil {
		return "", err
	}
	if n.html == "-" {
		return b.String(), nil
	}
	if err := replaceFile(n.html, b.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("write the page: %w", err)
	}
	return "", nil
}

func asJSON(v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return string(b) + "\n", err
}
