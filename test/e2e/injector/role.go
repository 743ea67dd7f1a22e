package injector

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The broker's programs in C and what their processes are called here: by the
// program, and for an init by what it is an init of and of which component:
// "init.web" is a compartment's, "worker.web" a worker's, and "process.web" what
// becomes the program. All others are let alone.
var static = []string{"init", "keeper", "stub", "sweeper"}

// rolesOf tells by its program and its cgroup who a process is that has just
// executed something. The program is known by its inode: an init's lies outside
// of its root.
func rolesOf(libexec string) (func(pid int) string, error) {
	type file struct{ device, inode uint64 }
	programs := map[file]string{}
	fileOf := func(path string) (file, error) {
		info, err := os.Stat(path)
		if err != nil {
			return file{}, err
		}
		st := info.Sys().(*syscall.Stat_t)
		return file{uint64(st.Dev), st.Ino}, nil
	}
	for _, name := range static {
		f, err := fileOf(filepath.Join(libexec, name))
		if err != nil {
			return nil, err
		}
		programs[f] = name
	}
	return func(pid int) string {
		f, err := fileOf(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return ""
		}
		name := programs[f]
		if name == "init" {
			name += "." + componentOf(pid)
		}
		return name
	}, nil
}

// componentOf is read off the path of a cgroup: …/sandbox/APPLICATION/COMPONENT/….
func componentOf(pid int) string {
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	for line := range strings.Lines(string(groups)) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), "/sandbox/")
		if words := strings.Split(path, "/"); len(words) > 1 && words[1] != "@monitor" {
			component, _, _ := strings.Cut(words[1], ".") // what a reload has built has a number behind it
			return component
		}
	}
	return ""
}

// heirOf is what a process is that another one makes, until it executes
// something.
func heirOf(name string) string {
	role, component, of := strings.Cut(name, ".")
	if !of {
		return name
	}
	switch role {
	case "init":
		return "worker." + component
	case "worker":
		return "process." + component
	}
	return name
}
