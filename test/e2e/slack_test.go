package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The thread by which Go's runtime looks after the monitor's others may be late
// (broker/launch/shed.go), and so may all of the supervisor (sandbox/init/enter.c);
// the monitor's loop and everybody else wake as whoever started the application
// does, whatever the builder was (sandbox/compartment/late.c).
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
	own, late := slack("self"), fmt.Sprint(time.Millisecond.Nanoseconds())
	a := New(t, "slack")
	a.Write("application: {{NAME}}\ncomponents:\n  web: {command: [\"{{BUSYBOX}}\", sleep, \"1000\"]}\n").Run().Ready()
	for _, p := range a.Processes() {
		want := own
		if p.Component == "supervisor" {
			want = late
		}
		if got := slack(p.Pid); got != want {
			t.Errorf("%v has a slack of %s ns, not %s; the test has %s", p, got, want, own)
		}
	}
	monitor := a.Of(Monitor, "")[0].Pid
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", monitor))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, thread := range threads {
		found = found || slack(thread.Name()) == late
	}
	if !found {
		t.Error("no thread of the monitor's may be late")
	}
	if status := a.Stop(); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
}
