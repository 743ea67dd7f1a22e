// Package probes runs escape probes: small attempts to leave a compartment or to
// reach a neighbour, the monitor or the supervisor. The attempts are one static C
// program (program/), so that they run where there is no shell, no library and no
// /proc; this package builds it, sets up what it aims at outside, runs it bare and
// under several launchers, and writes the table of who stops what.
package probes

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Probe is one attempt, as the program describes it.
type Probe struct {
	Name      string
	Theme     string
	Title     string
	Reference string
	Wall      string
}

// Build compiles the program in source into directory and returns its path.
func Build(source, directory string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*.c"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no C files in %s: %v", source, err)
	}
	program := filepath.Join(directory, "probe")
	arguments := []string{
		"-static", "-O2", "-std=gnu11", "-Wall", "-Wextra",
		// The kernel's headers, behind musl's own.
		"-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu",
		"-o", program,
	}
	output, err := exec.Command("musl-gcc", append(arguments, files...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("musl-gcc (Debian package musl-tools): %v\n%s", err, output)
	}
	// Compartments run it as other users.
	return program, os.Chmod(program, 0o755)
}

// List asks the program for its probes.
func List(program string) ([]Probe, error) {
	output, err := exec.Command(program, "list", "--json").Output()
	if err != nil {
		return nil, fmt.Errorf("%s list: %w", program, err)
	}
	var list []Probe
	if err := json.Unmarshal(output, &list); err != nil {
		return nil, fmt.Errorf("%s list: %w", program, err)
	}
	return list, nil
}
