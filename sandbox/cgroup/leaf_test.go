package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/policy/plan"
)

// testGroup makes a group of the test's own and removes it afterwards.
func testGroup(t *testing.T, limits plan.Limits) (*Group, func(leaf, file string) string) {
	if os.Geteuid() != 0 {
		t.Skip("making cgroups takes root; the suite in the virtual machine runs this always")
	}
	h, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	name := "bulkhead-test-" + strconv.Itoa(os.Getpid())
	g, err := Open(h, name, limits, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range g.controllers {
			if err := unix.Rmdir(c.path); err != nil {
				t.Errorf("remove %s: %v", c.path, err)
			}
		}
		g.Close()
	})
	read := func(leaf, file string) string {
		for _, c := range g.controllers {
			if b, err := os.ReadFile(filepath.Join(c.path, leaf, file)); err == nil {
				return string(b)
			}
		}
		t.Fatalf("no controller has %s/%s", leaf, file)
		return ""
	}
	return g, read
}

func TestRecycledLeafIsLikeNew(t *testing.T) {
	limits := plan.Limits{Memory: 64 << 20, Processes: 3}
	g, read := testGroup(t, limits)
	if g.unified {
		t.Skip("cgroup v2 can rename no group, so its leaves are not used again")
	}
	l, err := g.NewLeaf("w1", limits)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if !l.Recycle("w2") {
		t.Fatal("an empty leaf was not recycled")
	}
	defer l.Remove()
	defer l.Close()
	if got := read("w2", "pids.max"); got != "4\n" {
		t.Errorf("pids.max of the recycled leaf is %q, want 4", got)
	}
	for _, c := range g.controllers {
		if _, err := os.Stat(filepath.Join(c.path, "w1")); !os.IsNotExist(err) {
			t.Errorf("%s/w1 is still there", c.path)
		}
	}
	if len(l.Procs) != len(g.controllers) {
		t.Errorf("the recycled leaf has %d entrances, want %d", len(l.Procs), len(g.controllers))
	}
	if peak := l.Peak(); peak > leftover {
		t.Errorf("the recycled leaf begins with a peak of %d bytes", peak)
	}
}

func TestLeafInUseIsNotRecycled(t *testing.T) {
	g, _ := testGroup(t, plan.Limits{})
	l, err := g.NewLeaf("w1", plan.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		sleep.Process.Kill()
		sleep.Wait()
		l.Close()
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
	}()
	for _, fd := range l.Procs {
		if _, err := unix.Write(fd, []byte(strconv.Itoa(sleep.Process.Pid))); err != nil {
			t.Fatal(err)
		}
	}
	if l.Recycle("w2") {
		t.Error("a leaf with a process in it was recycled")
	}
}

// What stays open leads into the leaf by whatever name it has, and counts
// what the next worker does.
func TestOpenLeafIsUsedAgain(t *testing.T) {
	limits := plan.Limits{Memory: 64 << 20, Processes: 3}
	g, read := testGroup(t, limits)
	if g.unified {
		t.Skip("cgroup v2 can rename no group, so its leaves are not used again")
	}
	l, err := g.NewLeaf("w1", limits)
	if err != nil {
		t.Fatal(err)
	}
	defer l.abandon()
	for _, name := range []string{"w2", "w3"} {
		if !l.Recycle(name) {
			t.Fatalf("the leaf was not recycled as %s", name)
		}
		run := exec.Command("sh", "-c", "read go; exec head -c 8M /dev/zero | tail -c 8M >/dev/null")
		begin, err := run.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		for _, fd := range l.Procs {
			if _, err := unix.Write(fd, []byte(strconv.Itoa(run.Process.Pid))); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(name, "cgroup.procs"); got != strconv.Itoa(run.Process.Pid)+"\n" {
			t.Errorf("%s has the processes %q, want %d alone", name, got, run.Process.Pid)
		}
		begin.Write([]byte("\n"))
		if err := run.Wait(); err != nil {
			t.Error(err)
		}
		if l.Peak() < 8<<20 {
			t.Errorf("%s: a worker that used 8 MiB left a peak of %d", name, l.Peak())
		}
	}
}

// A worker's memory may outlive it, in a file that somebody else has open: what
// all workers of a component leave and use is bounded together.
func TestMemoryOfFormerWorkersCounts(t *testing.T) {
	limits := plan.Limits{Memory: 48 << 20, Processes: 3}
	g, read := testGroup(t, limits)
	file := "memory.limit_in_bytes"
	if g.unified {
		file = "memory.max"
	}
	if got := read(".", file); got != strconv.Itoa(2*48<<20+besides)+"\n" {
		t.Errorf("%s of the group is %q", file, got)
	}
	if g.unified {
		t.Skip("leaves have controllers in groups that libcontainer has made")
	}
	kept, err := os.MkdirTemp("/dev/shm", "bulkhead-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(kept)
	for i := range 5 {
		l, err := g.NewLeaf("w"+strconv.Itoa(i), limits)
		if err != nil {
			t.Fatal(err)
		}
		keep := exec.Command("sh", "-c", "read go; exec head -c 40M /dev/zero >"+filepath.Join(kept, strconv.Itoa(i)))
		begin, err := keep.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := keep.Start(); err != nil {
			t.Fatal(err)
		}
		for _, fd := range l.Procs {
			if _, err := unix.Write(fd, []byte(strconv.Itoa(keep.Process.Pid))); err != nil {
				t.Fatal(err)
			}
		}
		begin.Write([]byte("\n"))
		// Three are 120 MiB of 160; the fourth is one too many.
		err = keep.Wait()
		if i < 3 && err != nil {
			t.Errorf("the worker %d: %v", i, err)
		}
		if i > 3 && (err == nil || !l.OutOfMemory()) {
			t.Errorf("the worker %d left more memory behind than all of them may have: %v", i, err)
		}
		l.abandon()
	}
}
