package inspect

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/test/golden"
)

// example is a report with something of everything, by hand.
func example() *Report {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	spaces := []Namespace{{"user", 11, false}, {"mnt", 12, false}, {"pid", 13, false}, {"ipc", 14, false}, {"uts", 15, false}, {"net", 16, false}, {"cgroup", 17, false}, {"time", 1, true}}
	program := Process{
		PID: 4711, InnerPID: 2, Parent: 4710, Name: "djpeg", Executable: "/usr/bin/djpeg", Role: "program", Of: "thumbnailer/decode/w3",
		Started: now.Add(-time.Minute), Threads: 1, Resident: 3 << 20,
		Identity:   Identity{UIDs: [4]uint32{2001, 2001, 2001, 2001}, GIDs: [4]uint32{2001, 2001, 2001, 2001}, Groups: []uint32{}, UIDMap: []IDRange{{0, 2000, 1}, {1000, 2001, 1}}, GIDMap: []IDRange{{0, 2000, 1}}},
		Namespaces: spaces, NoNewPrivileges: true,
		Seccomp: Seccomp{Mode: "filter", Loaded: 1, Calls: &Calls{Known: 381, Allowed: 3, Default: "notify", Foreign: "kill", X32: "kill", Calls: []CallRule{
			{Call: "read", Action: "allow"}, {Call: "write", Action: "allow"}, {Call: "ptrace", Action: "kill"},
			{Call: "ioctl", When: []CallCase{{"argument 1 (32 bits) == 1", "allow"}, {"argument 1 (32 bits) == 2", "allow"}, {"otherwise", "notify"}}},
		}}},
		Cgroup:   &Cgroup{1, "/sandbox/thumbnailer/decode/w3", Usage{4 << 20, 5 << 20, 64 << 20}, Usage{2, 0, 2}, Share{Unlimited, 100}, 0},
		Mounts:   []Mount{{ID: 1, Point: "/", Root: "/run/sandbox", Type: "ext4", Source: "/dev/vda", Flags: []string{"ro", "relatime"}}},
		Writable: []string{"/tmp"}, Both: []string{}, Landlock: "none: this kernel has no Landlock", Dumpable: "yes", Root: "/", Directory: "/",
		Rlimits:     []Rlimit{{"open files", 16, 16}, {"cpu time", Unlimited, Unlimited}, {"core file size", 0, 8}},
		Environment: []string{"LISTEN_FDS", "PATH"},
		Descriptors: []Descriptor{
			{Number: 0, Kind: "pipe", Object: "pipe:[9]", Access: "read", From: "passed by web (may-start)"},
			{Number: 3, Kind: "socket", Object: "socket:[10]", Access: "read-write", From: "grant http", Socket: &Socket{Family: "inet", Type: "stream", Listening: true, Local: "tcp:127.0.0.1:8080", Host: true}},
			{Number: 7, Kind: "directory", Object: "/etc/\x1b[31mevil", Access: "read", Outside: true},
		},
		Unseen: []string{"its label: permission denied"},
	}
	program.Walls = walls(&program)
	exposure := &Exposure{Figure: 1.2, Word: "ok", Basis: "kernel", Reasons: []Reason{{"grants", "listen on tcp:127.0.0.1:8080", 0.9, "components.decode.grants: fewer, or access: read"}, {"tiny", "not worth a line", 0.001, ""}}}
	drift := Drift{Component: "decode", PID: 4711, Subject: "descriptor 7", Planned: "only what a grant explains", Found: "directory /etc, read", Position: "app.yaml:12:3"}
	return &Report{
		Schema: Schema, Time: now, Kernel: Kernel{"6.1.0", 2, "v1"},
		Applications: []Application{{
			Name: "thumbnailer", Policy: "app.yaml", State: "running", Started: now.Add(-26 * time.Hour),
			Problems: []string{"read the plan: permission denied"},
			Components: []Component{
				{Name: "monitor", Program: "/usr/libexec/sandbox/monitor", Start: "with-application", State: "running", Since: now.Add(-26 * time.Hour), Running: 1, Memory: 3 << 20, Grants: []GrantUse{}, Walls: []Wall{{"identity", false, "the host's root"}}, Exposure: &Exposure{Figure: 9.9, Word: "unsafe", Basis: "none"}},
				{Name: "web", Program: "/usr/bin/python3", Start: "with-application", State: "failed", Cause: "it broke", Since: now.Add(-59 * time.Second), Restarts: 5, Grants: []GrantUse{}, Denied: 2,
					Denials: []Denial{{"socket(AF_NETLINK, ...)", "EAFNOSUPPORT", "components.web.syscalls: [socket]", 2, now}}},
				{Name: "decode", Program: "/usr/bin/djpeg", Start: "per-request", State: "running", Since: now.Add(-time.Hour), Running: 1, Memory: 4 << 20,
					Grants: []GrantUse{{"http", "listen", "listen on tcp:127.0.0.1:8080", 2, true, 1, "bind"}}, Walls: program.Walls, Exposure: exposure, Drift: []Drift{drift},
					Workers: []Worker{{"w3", 4711, []Process{program}}}},
				{Name: "idle", Program: "/bin/cat", Start: "per-request", State: "stopped", Since: now, Grants: []GrantUse{}},
			},
		}},
		Process: &program,
	}
}

func TestGoldenText(t *testing.T) {
	r := example()
	golden.Expect(t, "testdata/"+"list.txt", List(r, false))
	golden.Expect(t, "testdata/"+"list-coloured.txt", List(r, true))
	golden.Expect(t, "testdata/"+"application.txt", Details(r, "", false))
	golden.Expect(t, "testdata/"+"component.txt", Details(r, "decode", false))
	golden.Expect(t, "testdata/"+"verification.txt", Verification(r, false))
	r.Process.Exposure = r.Applications[0].Components[2].Exposure
	golden.Expect(t, "testdata/"+"process.txt", ProcessDetails(r, false))
	golden.Expect(t, "testdata/"+"radius.txt", RadiusText(&Radius{Component: "web", Reaches: []Reach{
		{nil, "write", "the files in /srv (grant store)", "app.yaml:4:3"},
		{nil, "start", "decode, with input of its choice", "app.yaml:7:3"},
		{[]string{"decode"}, "call", "198 of the kernel's 381 system calls", ""},
		{nil, "mislead", "front, which starts it and reads what it answers", ""},
	}}, false))
	for _, text := range []string{Details(r, "decode", false), ProcessDetails(r, false)} {
		if strings.Contains(text, "\x1b") {
			t.Error("a name of a file reaches the terminal unfiltered")
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m00s", 3*time.Hour + 2*time.Minute: "3h02m", 49 * time.Hour: "2d01h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// The JSON's shape. A line that goes or changes breaks whoever reads it: that
// takes a new Schema. A new line does not. docs/inspect.md explains each.
func TestGoldenSchema(t *testing.T) {
	text := Schema + "\n"
	_, err := os.Stat("../../docs")
	explained := err == nil // in the virtual machine the package is alone
	docs, err := os.ReadFile("../../docs/inspect.md")
	if explained && err != nil {
		t.Fatal(err)
	}
	for _, s := range shapes(reflect.TypeFor[Report](), reflect.TypeFor[Radius]()) {
		for k := range s.NumField() {
			f := s.Field(k)
			if !f.IsExported() {
				continue
			}
			name, optional, _ := strings.Cut(f.Tag.Get("json"), ",")
			text += strings.TrimRight(fmt.Sprintf("%s.%s %s %s", s.Name(), name, typeWord(f.Type), optional), " ") + "\n"
			if explained && !strings.Contains(string(docs), "`"+name+"`") {
				t.Errorf("docs/inspect.md does not explain %s.%s", s.Name(), name)
			}
		}
	}
	golden.Expect(t, "testdata/"+"schema.txt", text)
	if explained && !strings.Contains(string(docs), Schema) {
		t.Errorf("docs/inspect.md is not about %s", Schema)
	}
}

// shapes are the structs that a type is made of, each once.
func shapes(types ...reflect.Type) []reflect.Type {
	var all []reflect.Type
	for len(types) > 0 {
		s := types[0]
		types = types[1:]
		for s.Kind() == reflect.Pointer || s.Kind() == reflect.Slice || s.Kind() == reflect.Array {
			s = s.Elem()
		}
		if s.Kind() != reflect.Struct || s == reflect.TypeFor[time.Time]() || slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
		for k := range s.NumField() {
			if s.Field(k).IsExported() {
				types = append(types, s.Field(k).Type)
			}
		}
	}
	return all
}

func typeWord(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[[]byte]():
		return "base64"
	case t.Kind() == reflect.Pointer:
		return typeWord(t.Elem())
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return "[]" + typeWord(t.Elem())
	case t.Name() != "":
		return t.Name()
	}
	return t.String()
}

func TestLimitJSON(t *testing.T) {
	for _, l := range []Limit{0, 1 << 40, Unlimited} {
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var back Limit
		if err := json.Unmarshal(b, &back); err != nil || back != l {
			t.Errorf("%d is %s and then %d, %v", l, b, back, err)
		}
	}
}
