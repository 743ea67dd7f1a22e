package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/plan"
)

// What is allowed, line by line, and the file that comes of it.
func TestDropIn(t *testing.T) {
	p := &plan.Plan{Grants: []plan.Grant{
		{Name: "http", Kind: plan.GrantListen, Network: "tcp", Address: "127.0.0.1", Port: 80},
		{Name: "connect-tcp-10-0-0-1-5432", Kind: plan.GrantFile},
	}}
	d := policy.NewDropIn("shop")
	for _, c := range []struct {
		line  string
		added []string
	}{
		{"components.web.syscalls: [ptrace]", []string{"components.web.syscalls: [ptrace]"}},
		{"components.web.syscalls: [ptrace]", nil},
		{"components.web.syscalls: [bpf]", []string{"components.web.syscalls: [bpf]"}},
		{"components.web.may-start: [decode]", []string{"components.web.may-start: [decode]"}},
		{`components.web.files: {read: ["/srv/a], write: [/etc"]}`, []string{`components.web.files.read: ["/srv/a], write: [/etc"]`}},
		{`components.web.files: {write: ["/srv/${x}"]}`, []string{`components.web.files.write: ["/srv/$${x}"]`}},
		{"grants.store.access: read-write", []string{"grants.store.access: read-write"}},
		{`grants.NAME: {listen: "tcp:127.0.0.1:80"} and components.web.grants: [NAME]`, []string{"components.web.grants: [http]"}},
		{`grants.NAME: {connect: "tcp:10.0.0.1:5432"} and components.web.grants: [NAME]`, []string{`grants.connect-tcp-10-0-0-1-5432-2.connect: "tcp:10.0.0.1:5432"`, "components.web.grants: [connect-tcp-10-0-0-1-5432-2]"}},
		{`grants.NAME: {connect: "tcp:10.0.0.1:5432"} and components.api.grants: [NAME]`, []string{"components.api.grants: [connect-tcp-10-0-0-1-5432-2]"}},
		{`grants.NAME: {connect: "unix:/run/x/Y.sock"} and components.api.grants: [NAME]`, []string{`grants.connect-unix-run-x-y-sock.connect: "unix:/run/x/Y.sock"`, "components.api.grants: [connect-unix-run-x-y-sock]"}},
	} {
		added, err := d.Allow(c.line, p)
		if err != nil || !reflect.DeepEqual(added, c.added) {
			t.Errorf("%s\nadds %q, %v\nwant %q", c.line, added, err, c.added)
		}
	}
	for _, line := range []string{
		"nothing in a policy allows it", "", "components.web.user: [root]", "components.web.syscalls: [a], user: [root]",
		"components.web.files: {read: [/a], write: [/etc]}", `components.web.files: {read: ["/a"], write: ["/etc"]}`,
		"components.web.files: {read: [/a\n]}", "grants.store.access: write", `components.web.may-start: ["\xff"]`, `components.web.may-start: ["\x00"]`,
		`grants.NAME: {connect: "a"} and components.x.grants: [OTHER]`,
	} {
		if added, err := d.Copy().Allow(line, p); err == nil {
			t.Errorf("%q is understood: it adds %q", line, added)
		}
	}
	want := `# Written by sandbox denials --apply: what was refused once and is allowed since.
# Remove what should be refused again. Comments are not kept when more is added.
application: shop
grants:
  store:
    access: read-write
  connect-tcp-10-0-0-1-5432-2:
    connect: "tcp:10.0.0.1:5432"
  connect-unix-run-x-y-sock:
    connect: "unix:/run/x/Y.sock"
components:
  web:
    syscalls:
      - ptrace
      - bpf
    may-start:
      - decode
    files:
      read:
        - "/srv/a], write: [/etc"
      write:
        - "/srv/$${x}"
    grants:
      - http
      - connect-tcp-10-0-0-1-5432-2
  api:
    grants:
      - connect-tcp-10-0-0-1-5432-2
      - connect-unix-run-x-y-sock
`
	if got := d.String(); got != want {
		t.Errorf("the file is\n%s\nwant\n%s", got, want)
	}
	again, err := policy.ParseDropIn("x.yaml", "shop", want)
	if err != nil || again.String() != want {
		t.Errorf("read and written again it is %v\n%s", err, again.String())
	}
}

// What a person wrote into the file stays, whatever its shape.
func TestDropInKeepsEdits(t *testing.T) {
	edited := strings.SplitAfter(policy.NewDropIn("shop").String(), "shop\n")[0] + `
components:
  web: {limits: {memory: 64M, wall-time: 5s}, syscalls: [{deny: [fork]}, "yes"], essential: true}
  "on": {files: {read: {replace: [/a]}}, directory: "${where}"}
`
	d, err := policy.ParseDropIn("x.yaml", "shop", edited)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"components.web.syscalls: [ptrace]", "components.on.files: {read: [/b]}", "components.on.files: {read: [/c]}", "components.on.files: {read: [/a]}"} {
		if _, err := d.Allow(line, &plan.Plan{}); err != nil {
			t.Fatal(err)
		}
	}
	want := `components:
  web:
    limits:
      memory: 64M
      wall-time: 5s
    essential: true
    syscalls:
      - {deny: [fork]}
      - "yes"
      - ptrace
  on:
    directory: "${where}"
    files:
      read: {replace: [/a, /b, /c]}
`
	if got := d.String(); !strings.HasSuffix(strings.ReplaceAll(got, `"on"`, "on"), want) {
		t.Errorf("it is\n%s\nwant the end\n%s", got, want)
	}
}

func TestDropInOfSomebodyElse(t *testing.T) {
	if _, err := policy.ParseDropIn("x.yaml", "shop", "application: shop\n"); !errors.Is(err, policy.ErrNotDropIn) {
		t.Errorf("a file of somebody else's: %v", err)
	}
	if _, err := policy.ParseDropIn("x.yaml", "other", policy.NewDropIn("shop").String()); err == nil {
		t.Error("a drop-in of another application is read")
	}
	if _, err := policy.ParseDropIn("x.yaml", "shop", policy.NewDropIn("shop").String()+"components: [\n"); err == nil {
		t.Error("half a drop-in is read")
	}
}

// A text that stands for a file of policy.d counts as that file would.
func TestDropInsGiven(t *testing.T) {
	directory := t.TempDir()
	path := write(t, directory, "small.yaml", small)
	there := write(t, directory, "policy.d/10.yaml", "components: {web: {limits: {memory: 128M}}}\n")
	for _, c := range []struct {
		given map[string]string
		want  uint64
	}{
		{nil, 128 << 20},
		{map[string]string{there: "components: {web: {limits: {memory: 32M}}}\n"}, 32 << 20},
		{map[string]string{filepath.Join(directory, "policy.d/20.yaml"): "components: {web: {limits: {memory: 16M}}}\n"}, 16 << 20},
		{map[string]string{filepath.Join(directory, "policy.d/05.yaml"): "components: {web: {limits: {memory: 16M}}}\n"}, 128 << 20},
	} {
		loaded, err := policy.Load(path, policy.Options{DropIns: c.given})
		if err != nil {
			t.Fatal(err)
		}
		result, _, err := policy.Compile(loaded, hosttest.New())
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Components[0].Limits.Memory; got != c.want {
			t.Errorf("%v: memory is %d, want %d", c.given, got, c.want)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(directory, "policy.d")); err != nil || len(entries) != 1 {
		t.Errorf("policy.d has %v, %v", entries, err)
	}
}

// FuzzDropIn: whatever a worker made a line of, the file is read as it was
// meant, and allows nothing but one thing of one component.
func FuzzDropIn(f *testing.F) {
	for _, line := range []string{
		"components.web.syscalls: [ptrace]", `components.web.files: {read: ["/srv/a], write: [/etc"]}`, "grants.store.access: read-write",
		`grants.NAME: {listen: "tcp:127.0.0.1:80"} and components.web.grants: [NAME]`, `components.web.may-start: ["${x}\n- y"]`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		d := policy.NewDropIn("shop")
		added, err := d.Allow(line, &plan.Plan{})
		if err != nil {
			return
		}
		if len(added) == 0 || len(added) > 2 {
			t.Errorf("%q adds %q", line, added)
		}
		again, err := policy.ParseDropIn("x.yaml", "shop", d.String())
		if err != nil {
			t.Fatalf("%q makes a file that is not read: %v\n%s", line, err, d.String())
		}
		if again.String() != d.String() {
			t.Errorf("%q: read again it is\n%s\nand was\n%s", line, again.String(), d.String())
		}
		if more, err := again.Allow(line, &plan.Plan{}); err != nil || len(more) != 0 {
			t.Errorf("%q adds %q once more, %v", line, more, err)
		}
	})
}
