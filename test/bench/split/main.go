// Split measures what an exec costs whose program runs in a compartment of its
// own, beside the same exec without, in turn, so that whatever else the machine
// does meets both alike.
//
//	go run ./test/bench/split [-rounds 1000] [-cgi]
//
// A parent that forks and executes; or, with -cgi, requests to CGI programs of
// two lighttpd: Debian's as it is, and the profile lighttpd-cgi.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

const policy = `
application: bench-split
components:
  parent:
    command: [%[1]s/parent, "%[2]d", %[1]s/bare, %[1]s/split]
    files: {execute: %[1]s/bare}
    may-start: [helper]
    output: inherit
    restart: never
  helper: {start: on-exec, replaces: %[1]s/split}
`

func main() {
	rounds := flag.Int("rounds", 1000, "how often each is executed")
	cgi := flag.Bool("cgi", false, "requests to CGI programs instead")
	flag.Parse()
	directory, err := os.MkdirTemp("/var/tmp", "bench-split-")
	if err == nil {
		defer os.RemoveAll(directory)
		measure := execs
		if *cgi {
			measure = requests
		}
		err = measure(directory, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench split:", err)
		os.RemoveAll(directory)
		os.Exit(1)
	}
}

// compile makes the parent, which is what it executes and a CGI program too.
func compile(directory string, names ...string) error {
	if err := os.Chmod(directory, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		out, err := exec.Command("musl-gcc", "-O2", "-static", "-o", filepath.Join(directory, name), "test/bench/split/parent/alternate.c").CombinedOutput()
		if err != nil {
			return fmt.Errorf("compile the parent: %w\n%s", err, out)
		}
	}
	return nil
}

func execs(directory string, rounds int) error {
	if err := compile(directory, "parent", "bare", "split"); err != nil {
		return err
	}
	file := filepath.Join(directory, "policy.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, policy, directory, rounds), 0o644); err != nil {
		return err
	}
	var output bytes.Buffer
	command := exec.Command("bin/sandbox", "run", file)
	command.Stdout, command.Stderr = &output, os.Stderr
	if err := command.Run(); err != nil {
		return err
	}
	var bare, split []time.Duration
	for line := range bytes.Lines(output.Bytes()) {
		var b, s int64
		if n, _ := fmt.Sscan(string(line), &b, &s); n == 2 {
			bare, split = append(bare, time.Duration(b)*time.Microsecond), append(split, time.Duration(s)*time.Microsecond)
		}
	}
	if len(bare) != rounds {
		return fmt.Errorf("%d of %d rounds came back", len(bare), rounds)
	}
	report(bare, split)
	return nil
}

func report(bare, split []time.Duration) {
	slices.Sort(bare)
	slices.Sort(split)
	fmt.Printf("%8s  %10s  %10s  %10s\n", "", "bare", "split", "more")
	for _, p := range []struct {
		name string
		at   int
	}{{"median", len(bare) / 2}, {"p90", len(bare) * 9 / 10}, {"p99", len(bare) * 99 / 100}} {
		fmt.Printf("%8s  %10v  %10v  %10v\n", p.name, bare[p.at].Round(time.Microsecond), split[p.at].Round(time.Microsecond), (split[p.at] - bare[p.at]).Round(time.Microsecond))
	}
}
