// Command profile says where the processor time of a command goes, over all of its processes: launcher, builder,
// libcontainer's stages, monitor, supervisor, inits, sweeper.
//
//	make profile                                   twenty cold starts of busybox true
//	go run ./test/bench/profile [-bin DIR] [-runs 20] [-top 15] -- wrap -- /bin/ls
//
// It samples with perf(1) from outside, so the programs carry nothing for it; -bin is a directory of programs that were
// built with their symbols (make build/profile). perf itself cannot name the functions of the builder's later stages,
// which libcontainer executes from a sealed copy: they are looked up in the builder's own file.
package main

import (
	"bufio"
	"cmp"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	bin := flag.String("bin", "build/profile", "directory of programs with symbols")
	runs := flag.Int("runs", 20, "how often the command runs")
	top := flag.Int("top", 15, "functions to show for each process")
	flag.Parse()
	if err := run(*bin, *runs, *top, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

func run(bin string, runs, top int, command []string) error {
	if len(command) == 0 {
		busybox, err := exec.LookPath("busybox")
		if err != nil {
			return fmt.Errorf("find a program to start: %w", err)
		}
		command = []string{"wrap", "--", busybox, "true"}
	}
	dir, err := os.MkdirTemp("", "profile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "perf.data")
	record := append([]string{"record", "-q", "-F", "15000", "-g", "-o", data, "--", "sh", "-c",
		`n=$1; shift; while [ "$n" -gt 0 ]; do "$@" || exit; n=$((n-1)); done`, "sh", strconv.Itoa(runs), filepath.Join(bin, "sandbox")}, command...)
	if out, err := exec.Command("perf", record...).CombinedOutput(); err != nil {
		return fmt.Errorf("perf record (package linux-perf): %w\n%s", err, out)
	}
	script := exec.Command("perf", "script", "-i", data, "-F", "comm,ip,sym")
	out, err := script.StdoutPipe()
	if err != nil {
		return err
	}
	if err := script.Start(); err != nil {
		return err
	}
	builder, err := symbols(filepath.Join(bin, "libexec", "builder"))
	if err != nil {
		return err
	}
	total, shares := count(bufio.NewScanner(out), builder)
	if err := script.Wait(); err != nil || total == 0 {
		return errors.Join(errors.New("perf script shows no samples"), err)
	}
	show(total, shares, top)
	return nil
}

// A share is what one kind of process took: samples in all, and by function with what it calls.
type share struct {
	process   string
	samples   int
	functions map[string]int
}

// count reads blocks of a process's name and the addresses of its stack, innermost first.
func count(lines *bufio.Scanner, builder []elf.Symbol) (total int, shares map[string]*share) {
	shares = map[string]*share{}
	var now *share
	seen := map[string]bool{}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			now = nil
			continue
		}
		if now == nil {
			if shares[line] == nil {
				shares[line] = &share{process: line, functions: map[string]int{}}
			}
			now = shares[line]
			now.samples++
			total++
			clear(seen)
			continue
		}
		address, name, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "[unknown]") {
			at, _ := strconv.ParseUint(address, 16, 64)
			name = function(builder, at)
		}
		name, _, _ = strings.Cut(name, "+0x")
		if name != "" && !seen[name] {
			seen[name] = true
			now.functions[name]++
		}
	}
	return total, shares
}

func show(total int, shares map[string]*share, top int) {
	all := make([]*share, 0, len(shares))
	for _, s := range shares {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *share) int { return cmp.Compare(b.samples, a.samples) })
	percent := func(n int) float64 { return 100 * float64(n) / float64(total) }
	for _, s := range all {
		if percent(s.samples) < 0.5 {
			continue
		}
		fmt.Printf("%5.1f %%  %s\n", percent(s.samples), s.process)
		names := make([]string, 0, len(s.functions))
		for name := range s.functions {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(s.functions[b], s.functions[a]), cmp.Compare(a, b))
		})
		for _, name := range names[:min(top, len(names))] {
			fmt.Printf("        %5.1f %%  %s\n", percent(s.functions[name]), name)
		}
	}
}

// symbols are the functions of a program, in the order of their places in its file: perf says places in the file for what
// it cannot find by a path.
func symbols(path string) ([]elf.Symbol, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the builder's symbols (make build/profile): %w", err)
	}
	defer file.Close()
	all, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read the symbols of %s (make build/profile): %w", path, err)
	}
	var functions []elf.Symbol
	for _, s := range all {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				s.Value += p.Off - p.Vaddr
				functions = append(functions, s)
			}
		}
	}
	slices.SortFunc(functions, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	return functions, nil
}

func function(all []elf.Symbol, at uint64) string {
	i, found := slices.BinarySearchFunc(all, at, func(s elf.Symbol, at uint64) int { return cmp.Compare(s.Value, at) })
	if !found {
		i--
	}
	if i < 0 || at >= all[i].Value+all[i].Size {
		return ""
	}
	return all[i].Name
}
