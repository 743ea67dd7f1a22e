package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The thread by which Go's runtime looks after the monitor's others may be late
// (broker/launch/shed.go); the monitor's loop, and everybody who is not the
// monitor, wakes as whoever started the application does.
func TestSlackOfTimers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the kernel tells it of other processes to root only (proc(5))")
	}
	slack := func(task any) string {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%v/timerslack_ns", task))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	own := slack("self")
	a := New(t, "slack")
	a.Write("application: {{NAME}}\ncomponents:\n  web: {command: [\"{{BUSYBOX}}\", sleep, \"1000\"]}\n").Run().Ready()
	for _, p := range a.Processes() {
		if got := slack(p.Pid); got != own {
			t.Errorf("%v has a slack of %s ns, the test %s", p, got, own)
		}
	}
	monitor := a.Of(Monitor, "")[0].Pid
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", monitor))
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, thread := range threads {
		if slack(thread.Name()) == fmt.Sprint(time.Millisecond.Nanoseconds()) {
			late++
		}
	}
	if late == 0 {
		t.Error("no thread of the monitor's may be late")
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
}
