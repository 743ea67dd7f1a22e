package inspect

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"bulkhead/sandbox/cgroup"
)

func TestParseMounts(t *testing.T) {
	got := parseMounts(`36 35 98:0 /mnt1 /mnt\040two rw,noatime master:1 - ext4 /dev/root rw,errors=continue
40 36 0:30 / /proc ro,nosuid,noexec - proc proc rw
41 36 0:31 / /ro rw,nosuid - tmpfs none ro,size=4k
broken line
`)
	want := []Mount{
		{ID: 36, Point: "/mnt two", Root: "/mnt1", Type: "ext4", Source: "/dev/root", Device: "98:0", Flags: []string{"rw", "noatime"}, Super: []string{"rw", "errors=continue"}, Writes: true, Execute: true},
		{ID: 40, Point: "/proc", Root: "/", Type: "proc", Source: "proc", Device: "0:30", Flags: []string{"ro", "nosuid", "noexec"}, Super: []string{"rw"}},
		{ID: 41, Point: "/ro", Root: "/", Type: "tmpfs", Source: "none", Device: "0:31", Flags: []string{"rw", "nosuid"}, Super: []string{"ro", "size=4k"}, Execute: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseRlimits(t *testing.T) {
	got := parseRlimits(`Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 524288               files     
Max nice priority         0                    0                    
`)
	want := []Rlimit{{"cpu time", Unlimited, Unlimited}, {"open files", 1024, 524288}, {"nice priority", 0, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseStatus(t *testing.T) {
	s, err := parseStatus("Name:\tx\nPPid:\t1\nNSpid:\t77\t2\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nGroups:\t7 8 \nVmRSS:\t  12 kB\nCapEff:\t0000000000200001\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.uids != [4]uint32{1, 2, 3, 4} || s.inner[1] != 2 || s.resident != 12<<10 || !s.noNewPrivileges || s.seccomp != 2 || s.filters != 3 {
		t.Errorf("got %+v", s)
	}
	if want := []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}; !reflect.DeepEqual(s.capabilities.Effective, want) {
		t.Errorf("capabilities %v, want %v", s.capabilities.Effective, want)
	}
	// A kernel before 5.9 does not count filters.
	if s, err := parseStatus("Name:\tx\n"); err != nil || s.filters != -1 {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, wrong := range []string{"Uid:\t1\n", "CapEff:\tzz\n", "Seccomp:\t?\n"} {
		if _, err := parseStatus(wrong); err == nil {
			t.Errorf("%q is read without an error", wrong)
		}
	}
}

// files makes a tree of files.
func files(t *testing.T, tree map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range tree {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCgroupUnified(t *testing.T) {
	root := files(t, map[string]string{
		"a/memory.max": "max\n", "a/b/memory.max": "1048576\n", "a/b/c/memory.max": "4194304\n",
		"a/b/c/memory.current": "4096\n", "a/b/c/memory.peak": "8192\n",
		"a/b/c/pids.current": "2\n", "a/pids.max": "10\n", "a/b/c/pids.max": "max\n",
		"a/b/c/cpu.weight": "50\n", "a/b/c/io.weight": "default 70\n254:0 200\n", "a/b/cpu.max": "50000 100000\n", "a/b/c/cpu.max": "max 100000\n",
	})
	got := *new(limitFiles).unified(root, "/a/b/c")
	want := Cgroup{2, "/a/b/c", Usage{4096, 8192, 1 << 20}, Usage{2, 0, 10}, Share{50, 50}, 70}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCgroupControllers(t *testing.T) {
	root := files(t, map[string]string{
		"memory/a/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/b/memory.limit_in_bytes": "67108864\n",
		"memory/a/b/memory.usage_in_bytes": "4096\n", "memory/a/b/memory.max_usage_in_bytes": "8192\n",
		"pids/a/b/pids.current": "3\n", "pids/a/b/pids.max": "5\n",
		"cpu/a/b/cpu.shares": "2048\n", "cpu/a/cpu.cfs_quota_us": "25000\n", "cpu/a/cpu.cfs_period_us": "100000\n", "cpu/a/b/cpu.cfs_quota_us": "-1\n",
	})
	h := cgroup.Hierarchy{Controllers: map[string]string{"memory": root + "/memory", "pids": root + "/pids", "cpu": root + "/cpu"}}
	// Hybrid: a v2 hierarchy without controllers stands beside.
	groups := parseCgroup("9:pids:/a/b\n4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/elsewhere\n")
	got := *new(limitFiles).controllers(h, groups)
	want := Cgroup{1, "/a/b", Usage{4096, 8192, 64 << 20}, Usage{3, 0, 5}, Share{25, 200}, 0}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := *new(limitFiles).controllers(h, parseCgroup("4:memory:/a\n")); got.Memory.Limit != Unlimited {
		t.Errorf("v1's largest number is read as the limit %d", got.Memory.Limit)
	}
}
