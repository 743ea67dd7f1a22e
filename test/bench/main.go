// Command bench measures what starting isolated programs costs: the kernel's own limits, the peers that Debian
// has, and Bulkhead, side by side on the machine that it runs on. README.md beside this file says how to read
// the table; cases.go is the list of what is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

type options struct {
	install bool
	quick   bool
	list    bool
	only    string
	json    string
	html    string
	page    string
	check   string
	margin  float64
}

func main() {
	var o options
	flag.BoolVar(&o.install, "install", false, "install the Debian packages that the chosen cases need and this machine lacks")
	flag.BoolVar(&o.quick, "quick", false, "fewer runs: the whole suite in under two minutes")
	flag.BoolVar(&o.list, "list", false, "print the cases and measure nothing")
	flag.StringVar(&o.only, "only", "", "measure only the cases whose `REGEX` matches \"group: name\", and their baselines")
	flag.StringVar(&o.json, "json", "", "write the results to `FILE`")
	flag.StringVar(&o.html, "html", "", "write a page with a chart to `FILE`")
	flag.StringVar(&o.page, "page", "", "put the tables into `FILE`, behind its heading \"The recorded run\"")
	flag.StringVar(&o.check, "check", "", "fail when one of Bulkhead's ratios is worse than the one recorded in `FILE` (written by -json)")
	flag.Float64Var(&o.margin, "margin", 0.25, "how much worse -check lets a ratio become: 0.25 is a quarter")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if o.list {
		list(os.Stdout, chosen)
		return nil
	}
	// The record is read first: a wrong file name should not cost the minutes of a run.
	var recorded *Report
	if o.check != "" {
		if recorded, err = readReport(o.check); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("the suite makes cgroups and namespaces and must run as root")
	}
	if o.install {
		if err := install(ctx, chosen); err != nil {
			return err
		}
	}
	shop, err := openWorkshop(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close()) }()

	report, err := measure(ctx, shop, chosen, planFor(o.quick), os.Stderr)
	if err != nil {
		return err
	}
	report.writeText(os.Stdout)
	if o.json != "" {
		if err := report.writeJSON(o.json); err != nil {
			return err
		}
	}
	if o.html != "" {
		if err := report.writeHTML(o.html); err != nil {
			return err
		}
	}
	if o.page != "" && report.failures() == nil {
		if err := report.writePage(o.page); err != nil {
			return err
		}
	}
	if recorded != nil {
		if err := check(os.Stdout, recorded, report, o.margin); err != nil {
			return err
		}
	}
	return report.failures()
}

// choose returns the cases that match, in the table's order, with the baselines that their ratios need.
func choose(only string) ([]*benchCase, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	wanted := map[*benchCase]bool{}
	for _, c := range table {
		if pattern.MatchString(c.String()) {
			wanted[c] = true
			wanted[c.baseline()] = true
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("-only %q matches no case (-list prints them)", only)
	}
	var chosen []*benchCase
	for _, c := range table {
		if wanted[c] {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
