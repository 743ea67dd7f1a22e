package compartment

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bulkhead/policy/plan"
)

// What the broker's own compartment has less than libcontainer makes: links that
// nobody there follows, and an open file.
var less = []string{
	"in the root: dev/core", "in the root: dev/fd", "in the root: dev/ptmx", "in the root: dev/stderr", "in the root: dev/stdin", "in the root: dev/stdout",
	"descriptor 5: init",
}

// The walls round the supervisor are those round every component, whoever
// raised them.
func TestOwnHasTheWallsOfAComponent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's are made by the same function")
	}
	var seen [2][]string
	for i, create := range []creator{Create, CreateOwn} {
		t.Run([]string{"component", "own"}[i], func(t *testing.T) {
			b := newBuiltBy(t, create, nil)
			seen[i] = b.walls()
			output, said := b.run("cat /proc/self/status /proc/self/limits /proc/self/cgroup /proc/1/cmdline; hostname; ls -lA / /dev")
			if said.Status != 0 {
				t.Fatalf("its worker ended as %+v: %s", said, output)
			}
			if strings.Contains(output, "/root/test") {
				t.Errorf("its worker sees where its root is on the host:\n%s", output)
			}
		})
	}
	if len(seen[1]) < 60 {
		t.Fatalf("only so much was seen:\n%s", strings.Join(seen[1], "\n"))
	}
	for _, line := range seen[1] {
		if !slices.Contains(seen[0], line) {
			t.Errorf("only the broker's own has: %s", line)
		}
	}
	for _, line := range seen[0] {
		if !slices.Contains(seen[1], line) && !slices.Contains(less, line) {
			t.Errorf("only a component's has: %s", line)
		}
	}
}

// walls are what the kernel says of a compartment's init, in lines that do not
// differ from one compartment to the next.
func (b *built) walls() []string {
	b.Helper()
	at := fmt.Sprintf("/proc/%d/", b.made.Pid)
	var all []string
	lines := func(file string) []string {
		b.Helper()
		text, err := os.ReadFile(at + file)
		if err != nil {
			b.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(text)))
	}
	for _, line := range lines("status") {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters":
			all = append(all, "status: "+line)
		}
	}
	for _, file := range []string{"cgroup", "uid_map", "gid_map", "setgroups", "limits", "oom_score_adj", "net/dev"} {
		for _, line := range lines(file) {
			all = append(all, file+": "+line)
		}
	}
	for _, line := range lines("mountinfo") {
		// Numbers of mounts and of file systems are new each time (proc(5)).
		fields := strings.Fields(line)[3:]
		if fields[1] == "/" {
			fields[0] = filepath.Base(fields[0]) // beneath a new directory
			// The broker's own is both on every file system, libcontainer's where the file system is.
			fields[2] = strings.Replace(fields[2], "ro,nosuid,nodev,", "ro,", 1)
		}
		all = append(all, "mount: "+strings.Join(fields, " "))
	}
	namespaces, err := os.ReadDir(at + "ns")
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range namespaces {
		its, _ := os.Readlink(at + "ns/" + n.Name())
		mine, _ := os.Readlink("/proc/self/ns/" + n.Name())
		all = append(all, fmt.Sprintf("namespace %s: the host's is %t", n.Name(), its == mine))
	}
	descriptors, err := os.ReadDir(at + "fd")
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range descriptors {
		if number, _ := strconv.Atoi(d.Name()); number >= 256 {
			continue // init.h: its own, of what Landlock rules name
		}
		to, _ := os.Readlink(at + "fd/" + d.Name())
		to, _, _ = strings.Cut(filepath.Base(to), ":")
		all = append(all, "descriptor "+d.Name()+": "+to)
	}
	for _, directory := range []string{"", "dev"} {
		entries, err := os.ReadDir(at + "root/" + directory)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, "in the root: "+filepath.Join(directory, e.Name()))
		}
	}
	fields := strings.Fields(lines("stat")[0])
	all = append(all, fmt.Sprintf("a session of its own: %t", fields[5] == strconv.Itoa(b.made.Pid)))
	// Settings of a user namespace are those of whoever opens the file.
	inside, err := exec.Command("nsenter", "--user", "--target", strconv.Itoa(b.made.Pid), "sh", "-c",
		"cd /proc/sys/user && for f in *; do echo $f: $(cat $f); done").CombinedOutput()
	if err != nil {
		b.Fatalf("read its settings: %v: %s", err, inside)
	}
	for line := range strings.Lines(string(inside)) {
		all = append(all, "setting "+line)
	}
	name, err := exec.Command("nsenter", "--uts", "--target", strconv.Itoa(b.made.Pid), "hostname").CombinedOutput()
	if err != nil {
		b.Fatalf("read its host name: %v: %s", err, name)
	}
	all = append(all, "host name: "+string(name))
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], "\n")
	}
	return all
}

// What the init itself finds impossible is an error too, and leaves no process.
func TestOwnUndoesItself(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user's are made by the same function as a component's")
	}
	undone(t, CreateOwn, "it ended at once", func(c *plan.Component) {
		c.Hostname = strings.Repeat("long", 100) // sethostname(2): at most 64
		c.Hosts = plan.HostIDs{Init: 1900000000, InitGroup: 1900000000, UID: 1900000001, GID: 1900000002}
		c.User = plan.User{UID: 1000, GID: 1000}
	})
}
