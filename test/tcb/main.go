// Command tcb prints the size of the code that runs with privilege: what an
// auditor of Bulkhead has to read. Lines are those that are neither blank nor
// comments nor tests.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tcb:", err)
		os.Exit(1)
	}
}

func run() error {
	fmt.Println("lines of code that run with privilege")
	fmt.Println("\nmonitor (root; meets what workers send)")
	total, err := goLines("./cmd/sandbox-monitor")
	if err != nil {
		return err
	}
	fmt.Println("\ninit of a compartment (root of its own user namespace), sweeper and keeper (root)")
	small, err := cLines("sandbox/init/*.[ch]", "broker/sweeper/*.c", "broker/keeper/*.c")
	if err != nil {
		return err
	}
	fmt.Printf("\n%6d in all; the supervisor has no privilege, and the launcher is gone before a worker runs\n", total+small)
	outside, err := exec.Command("go", "list", "-deps", "-f", "{{if and (not .Standard) .Module}}{{if not .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/sandbox-monitor").Output()
	if err != nil {
		return fmt.Errorf("list what the monitor links: %w", err)
	}
	fmt.Printf("       the monitor links beside the standard library: %s\n", strings.Join(strings.Fields(string(outside)), ", "))
	return nil
}

// goLines prints and sums the lines of a program's packages of this module.
func goLines(program string) (int, error) {
	out, err := exec.Command("go", "list", "-deps", "-f",
		`{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{range .GoFiles}} {{$.Dir}}/{{.}}{{end}}{{end}}{{end}}`, program).Output()
	if err != nil {
		return 0, fmt.Errorf("list the packages of %s: %w", program, err)
	}
	total := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		lines := 0
		for _, file := range fields[1:] {
			n, err := count(file)
			if err != nil {
				return 0, err
			}
			lines += n
		}
		fmt.Printf("%6d %s\n", lines, fields[0])
		total += lines
	}
	return total, nil
}

func cLines(patterns ...string) (int, error) {
	total := 0
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return 0, err
		}
		for _, file := range files {
			n, err := count(file)
			if err != nil {
				return 0, err
			}
			fmt.Printf("%6d %s\n", n, file)
			total += n
		}
	}
	return total, nil
}

// count counts lines of code; both languages have the same comments.
func count(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	lines, comment := 0, false
	for scanner := bufio.NewScanner(bytes.NewReader(b)); scanner.Scan(); {
		line := strings.TrimSpace(scanner.Text())
		if strings.HasPrefix(line, "/*") {
			comment = true
		}
		code := line != "" && !comment && !strings.HasPrefix(line, "//")
		if strings.Contains(line, "*/") {
			comment = false
		}
		if code {
			lines++
		}
	}
	return lines, nil
}
