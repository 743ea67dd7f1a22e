package supervisor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/broker/control"
	"bulkhead/broker/wire"
	"bulkhead/policy/plan"
	"bulkhead/test/transcript"
)

// TestProcess runs the real program as the monitor does, with the
// descriptors that it inherits, and measures what it costs.
func TestProcess(t *testing.T) {
	program := filepath.Join(t.TempDir(), "supervisor")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "bulkhead/cmd/sandbox-supervisor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, components := range []int{3, 200} {
		t.Run(fmt.Sprintf("%d components", components), func(t *testing.T) { runProcess(t, program, components) })
	}
}

func runProcess(t *testing.T, program string, components int) {
	var all []plan.Component
	for i := range components {
		all = append(all, with(fmt.Sprintf("c%d", i), nil))
	}
	p := application(append(all, with("supervisor", nil))...)
	encoded, err := plan.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memfd := os.NewFile(uintptr(fd), "plan")
	defer memfd.Close()
	memfd.Write(encoded)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	var listening []*os.File
	for _, name := range []string{"control", "status"} {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(directory, name)}); err != nil {
			t.Fatal(err)
		}
		unix.Listen(fd, 16)
		listening = append(listening, os.NewFile(uintptr(fd), name))
	}
	end := os.NewFile(uintptr(pair[1]), "monitor")
	var out, notes transcript.Transcript
	process := exec.Command(program)
	process.Env = []string{}
	process.Stdout, process.Stderr = &out, &notes
	process.ExtraFiles = []*os.File{end, listening[0], memfd, listening[1]}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	end.Close()
	m := playOn(t, p, pair[0])
	m.event(wire.Begin, nil)
	var pipes []io.Writer
	for i := range components {
		for stream := range uint32(2) {
			pipes = append(pipes, m.pipe(fmt.Sprintf("c%d", i), stream+1))
		}
	}
	go m.serve()
	c := dial(t, filepath.Join(directory, "status"))
	m.until("all is up", func() bool {
		r, err := c.Do(control.Request{Verb: control.AskStatus}, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, notes.String())
		}
		return r.Status.State == control.Running
	})
	for _, w := range pipes {
		fmt.Fprintln(w, "one line")
	}
	m.until("the lines have come", func() bool { return strings.Count(out.String(), "| one line\n") == 2*components })
	// What it does once, some seconds after its start, is no more in one of the windows.
	used := 2
	for window := 0; used > 1 && window < 5; window++ {
		before := processorTime(t, process.Process.Pid)
		time.Sleep(2 * time.Second)
		used = processorTime(t, process.Process.Pid) - before
	}
	if used > 1 {
		t.Errorf("used %d ticks in 2 idle seconds, and more than 1 in each 2 before", used)
	}
	t.Logf("%s", memory(t, process.Process.Pid))
	m.stop()
	if status := m.finish(); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := process.Wait(); err != nil {
		t.Errorf("%v\n%s", err, notes.String())
	}
	for _, f := range m.pipes {
		f.Close()
	}
}

// processorTime is utime and stime in proc_pid_stat(5), in ticks.
func processorTime(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return user + system
}

func memory(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		for _, key := range []string{"Rss:", "Pss:", "Private_Dirty:"} {
			if strings.HasPrefix(line, key) {
				found = append(found, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(found, ", ")
}
