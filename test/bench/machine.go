package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// A Machine is what a reader needs to know to compare figures.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Cgroup string `json:"cgroup"`
}

func (m Machine) String() string {
	return fmt.Sprintf("Linux %s, %s, %d cores, cgroup %s", m.Kernel, m.CPU, m.Cores, m.Cgroup)
}

// thisMachine leaves out the machine's name: figures are published.
func thisMachine(cgroupMode string) Machine {
	m := Machine{Kernel: "unknown", CPU: "unknown", Cores: runtime.NumCPU(), Cgroup: cgroupMode}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	if cpus, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(string(cpus), "model name")
	}
	return m
}

// field returns the value of the first "name : value" line.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
