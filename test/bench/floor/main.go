// Command floor runs a program in a container of libcontainer and does nothing else: what a launcher that uses
// libcontainer takes at least. The root is empty but for one static program.
//
//	go build -o /tmp/floor ./test/bench/floor && perf stat -r 20 /tmp/floor [-n 2]
//
// -n 2 runs two side by side, as many as an application of one component has, its supervisor's being the other.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // libcontainer refuses to do without
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // its stages in C
	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
	runtime.LockOSThread() // libcontainer spoils threads, and must not spoil the first
}

func main() {
	n := flag.Int("n", 1, "containers, side by side")
	program := flag.String("program", "/bin/busybox", "a static busybox")
	flag.Parse()
	if err := run(*n, *program); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(n int, program string) error {
	at, err := os.MkdirTemp("/dev/shm", "bench-floor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(at)
	if err := os.Chmod(at, 0o755); err != nil { // the container's root is nobody here
		return err
	}
	failed := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { failed[i] = one(at, fmt.Sprintf("floor-%d-%d", os.Getpid(), i), program) })
	}
	wait.Wait()
	return errors.Join(failed...)
}

// outside is the container's root.
const outside = 100000

func one(at, name, program string) (err error) {
	root := filepath.Join(at, name)
	for _, directory := range []string{"", "proc", "bin", "dev"} {
		directory = filepath.Join(root, directory)
		if err := errors.Join(os.Mkdir(directory, 0o755), os.Chown(directory, outside, outside)); err != nil {
			return err
		}
	}
	for _, file := range []string{"bin/busybox", "dev/null"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o755); err != nil {
			return err
		}
	}
	container, err := libcontainer.Create(filepath.Join(at, "state"), name, &configs.Config{
		Rootfs: root, Readonlyfs: true, NoNewPrivileges: true,
		Namespaces: configs.Namespaces{
			{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWIPC},
			{Type: configs.NEWUTS}, {Type: configs.NEWCGROUP}, {Type: configs.NEWNET},
		},
		UIDMappings:  []configs.IDMap{{HostID: outside, Size: 1}},
		GIDMappings:  []configs.IDMap{{HostID: outside, Size: 1}},
		Capabilities: &configs.Capabilities{},
		Mounts: []*configs.Mount{
			{Device: "proc", Source: "proc", Destination: "/proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
			{Device: "bind", Source: "/dev/null", Destination: "/dev/null", Flags: unix.MS_BIND | unix.MS_NOSUID},
			{Device: "bind", Source: program, Destination: "/bin/busybox", Flags: unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV},
		},
		Cgroups: &cgroups.Cgroup{Path: "/" + name, Resources: &cgroups.Resources{
			Memory: 64 << 20, PidsLimit: new(int64(512)),
			Devices: []*devices.Rule{
				{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"},
				{Type: devices.CharDevice, Major: 1, Minor: 3, Permissions: "rw", Allow: true},
			},
		}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, container.Destroy()) }()
	process := &libcontainer.Process{Args: []string{"/bin/busybox", "true"}, Cwd: "/", Init: true, Stdout: os.Stdout, Stderr: os.Stderr}
	if err := container.Run(process); err != nil {
		return err
	}
	_, err = process.Wait()
	return err
}
