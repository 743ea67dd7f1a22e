// Split measures what an exec costs whose program runs in a compartment of its
// own, beside the same exec without: one parent does both in turn, so that
// whatever else the machine does meets both alike.
//
//	go run ./test/bench/split [-rounds 1000]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	flag.Parse()
	if err := run(*rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench split:", err)
		os.Exit(1)
	}
}

func run(rounds int) error {
	directory, err := os.MkdirTemp("/var/tmp", "bench-split-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if err := os.Chmod(directory, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"parent", "bare", "split"} {
		out, err := exec.Command("musl-gcc", "-O2", "-static", "-o", filepath.Join(directory, name), "test/bench/split/parent/alternate.c").CombinedOutput()
		if err != nil {
			return fmt.Errorf("compile the parent: %w\n%s", err, out)
		}
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
	var bare, split []int
	for line := range bytes.Lines(output.Bytes()) {
		var b, s int
		if n, _ := fmt.Sscan(string(line), &b, &s); n == 2 {
			bare, split = append(bare, b), append(split, s)
		}
	}
	if len(bare) != rounds {
		return fmt.Errorf("%d of %d rounds came back", len(bare), rounds)
	}
	slices.Sort(bare)
	slices.Sort(split)
	fmt.Printf("%8s  %10s  %10s  %10s\n", "µs", "bare", "split", "more")
	for _, p := range []struct {
		name string
		at   int
	}{{"median", rounds / 2}, {"p90", rounds * 9 / 10}, {"p99", rounds * 99 / 100}} {
		fmt.Printf("%8s  %10d  %10d  %10d\n", p.name, bare[p.at], split[p.at], split[p.at]-bare[p.at])
	}
	return nil
}
