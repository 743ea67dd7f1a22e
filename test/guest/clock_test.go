package guest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const day = 24 * time.Hour

// jump sets the machine's clock.
func jump(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}

// Whatever takes time is here: a watchdog, health checks, a time-out of getting
// ready, a wall-time limit, restarts with a delay, a limit of restarts, and a
// log that is rotated by its age.
const timed = `application: {{NAME}}
logs: {file: "{{DIR}}/all.log", age: 1h, keep: 9}
components:
  dog: {ready: notify, watchdog: 20s, command: ["{{DIR}}/program", dog]}
  well: {command: [/bin/busybox, sleep, "1000"], health: {command: [/bin/busybox, "true"], interval: 200ms, timeout: 20s, failures: 1}}
  late: {ready: {fd: 3}, ready-timeout: 10m, limits: {wall-time: 1h}, command: [/bin/busybox, sh, -c, "while ! test -e {{DIR}}/go; do sleep 0.1; done; echo >&3; exec sleep 1000"], files: {read: ["{{DIR}}"]}}
  count: {command: [/bin/busybox, sh, -c, "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done"]}
  crash: {restart: always, restart-delay: 1s, restart-delay-maximum: 1s, command: [/bin/busybox, sh, -c, "echo crashed; exit 1"]}
  rare: {restart: always, restart-delay: 10ms, command: [/bin/busybox, sleep, "1000"]}
supervision:
  restarts: 1000
  within: 1s
  groups: {few: {members: [rare], restarts: 3, within: 1h}}
`

// TestClockJumps: the wall clock goes forward by a day, back by two and forward
// again, and nothing but the time stamps of the log takes notice.
func TestClockJumps(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root sets a clock; that the ordinary user's broker has the same code is enough")
	}
	a := application(t, "clock")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.Dir, "program"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	a.Run(timed)
	a.Expect("component dog: ready")
	a.Expect("component well: ready")
	a.Expect("component rare: ready")
	was := pids(t, a)
	steady := []string{"dog", "well", "late", "count"}

	kill := func() {
		t.Helper()
		old := pids(t, a)["rare"]
		a.Kill(strconv.Itoa(int(old)))
		a.Until("rare is back, or given up", func() bool {
			now := pids(t, a)["rare"]
			return now != old && now != 0 || strings.Contains(a.Said.String(), "group few: more than 3 restarts")
		})
	}
	crashes := func() int { return strings.Count(a.Said.String(), "component crash: exited with status 1") }
	// while a clock is as it is: the same number of restarts in the same time,
	// and nobody is restarted who has no reason.
	look := func(when string) {
		t.Helper()
		from, begin := crashes(), time.Now() // which has the monotonic time too
		a.Until("it restarts "+when, func() bool { return crashes() >= from+3 })
		if took := time.Since(begin); took < time.Second { // one had ended before, one was being told of
			t.Errorf("%s it restarted three times in %v", when, took)
		}
		now := pids(t, a)
		for _, name := range steady {
			if now[name] != was[name] {
				t.Errorf("%s %s is process %d and was %d", when, name, now[name], was[name])
			}
		}
		if c := status(t, a)["well"]; c.Health != "healthy" {
			t.Errorf("%s: %s", when, c.Health)
		}
	}
	look("before")
	kill()
	kill()
	jump(t, day)
	look("a day later")
	kill()
	jump(t, -2*day)
	look("a day earlier")
	a.File("go", "")
	a.Expect("component late: ready")
	if strings.Contains(a.Said.String(), "more than 3 restarts") {
		t.Error("the limit was reached too early")
	}
	jump(t, day)
	look("in time again")
	kill() // the fourth within the hour, whatever the clock says
	a.Expect("group few: more than 3 restarts within 1h")
	a.Signal(unix.SIGTERM)
	if status := a.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}

	// The lines are all there, in order, with the stamps of their moments; and
	// a minute is no hour, so the log was not rotated.
	if files, _ := filepath.Glob(filepath.Join(a.Dir, "all.log*")); len(files) != 1 {
		t.Errorf("the logs are %q", files)
	}
	next, jumps := 0, 0
	var last time.Time
	for line := range strings.Lines(a.Read("all.log")) {
		stamp, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if gap := at.Sub(last).Abs(); gap > day/2 && !last.IsZero() {
			jumps++
		}
		last = at
		if _, number, ok := strings.Cut(text, "count: line "); ok {
			if next++; number != strconv.Itoa(next) {
				t.Fatalf("line %s stands where %d belongs", number, next)
			}
		}
	}
	if jumps != 3 {
		t.Errorf("the stamps jump %d times", jumps)
	}
}
