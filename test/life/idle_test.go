package life

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var idleTime = flag.Duration("idle", 3*time.Second, "how long TestIdle looks")

// own are the processes of an application that are Bulkhead's: all but the
// programs of its components.
func (a *Application) own(components int) (pids []string) {
	a.t.Helper()
	programs := map[string]bool{}
	for _, workers := range a.pids() {
		for _, pid := range workers {
			programs[strconv.Itoa(int(pid))] = true
		}
	}
	if len(programs) < components {
		a.t.Fatalf("%d programs run", len(programs))
	}
	for _, pid := range a.processes() {
		if !programs[pid] {
			pids = append(pids, pid)
		}
	}
	return pids
}

// used is the processor time of processes, and pss their proportional set size.
func used(pids []string) (total time.Duration) {
	for _, pid := range pids {
		tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			if fields := strings.Fields(string(text)); len(fields) > 0 {
				n, _ := strconv.Atoi(fields[0])
				total += time.Duration(n)
			}
		}
	}
	return total
}

// TestIdle: a broker that has nothing to do does nothing, and is small: 20 MiB
// and 300 KiB for each component.
func TestIdle(t *testing.T) {
	const components = 20
	a := New(t, "idle")
	policy := "application: {{NAME}}\ncomponents:\n"
	for i := range components {
		policy += fmt.Sprintf("  c%d: {command: [/bin/busybox, sleep, \"1000\"]}\n", i)
	}
	a.Run(policy).Expect("up after")
	time.Sleep(6 * time.Second) // the monitor gives back what it needed at the start
	own := a.own(components)
	kilobytes := a.memory()
	// What is done once is not done in the next of three windows.
	took := *idleTime
	for window := 0; window < 3 && took > *idleTime/1000; window++ {
		before := used(own)
		time.Sleep(*idleTime)
		took = min(took, used(own)-before)
	}
	t.Logf("%d processes of Bulkhead's; %v of processor time in %v; PSS of all, programs too, %d kB", len(own), took, *idleTime, kilobytes)
	if took > *idleTime/1000 {
		t.Errorf("the idle broker used %v of processor time in %v", took, *idleTime)
	}
	if most := 20<<10 + 300*components; kilobytes > most {
		t.Errorf("its PSS is %d kB, more than %d", kilobytes, most)
	}
}
