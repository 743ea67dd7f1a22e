// Package guest runs whole applications in the virtual machine, as its root and
// as an ordinary user with a cgroup of its own, on pure cgroup v2: what this
// machine cannot show, and what must not be done to it, such as setting its
// clock. `make test-vm` runs it; elsewhere it says why it does not.
package guest

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/broker/control"
	"bulkhead/test/life"
)

// This program plays a component too: one with a watchdog.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "dog" {
		dog()
	}
	os.Exit(m.Run())
}

// dog says READY=1 once and WATCHDOG=1 for ever.
func dog() {
	socket, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	for text := "READY=1"; ; text = "WATCHDOG=1" {
		if _, err := socket.Write([]byte(text)); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// application prepares one; the test is skipped outside of the machine that
// test/vm boots for it.
func application(t *testing.T, name string) *life.Application {
	t.Helper()
	boot, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(boot), "rdinit=/init") {
		t.Skip("for the virtual machine: make test-vm")
	}
	life.Patience = 2 * time.Minute // it is emulated, on a busy machine
	return life.NewHere(t, name)
}

// state is where an application has its sockets.
func state(a *life.Application) string {
	base := "/run"
	if os.Geteuid() != 0 {
		base = os.Getenv("XDG_RUNTIME_DIR")
	}
	return filepath.Join(base, "sandbox", a.Name)
}

// status is what the supervisor says of each component.
func status(t *testing.T, a *life.Application) map[string]control.Component {
	t.Helper()
	t.Helper()
	client, err := control.Dial(filepath.Join(state(a), "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	reply, err := client.Do(control.Request{Verb: control.AskStatus}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]control.Component{}
	for _, c := range reply.Status.Components {
		all[c.Name] = c
	}
	return all
}

// pids are the processes of the workers, 0 where there is none.
func pids(t *testing.T, a *life.Application) map[string]uint32 {
	t.Helper()
	all := map[string]uint32{}
	for name, c := range status(t, a) {
		all[name] = 0
		for _, w := range c.Workers {
			all[name] = w.PID
		}
	}
	return all
}

// groups are the names of an application's cgroups.
func groups(a *life.Application) (all []string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if _, name, ok := strings.Cut(path, "/"+a.Name+"/"); ok && err == nil && d.IsDir() && !strings.Contains(name, "/") {
			all = append(all, name)
		}
		return nil
	})
	return all
}
