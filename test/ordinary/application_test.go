package ordinary

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/sandbox/cgroup"
	"bulkhead/test/loopback"
)

// Two real servers in one application: nginx with files that are bound, redis with a directory that
// exists for it by grant only. They serve, inspect finds every wall up, a reload changes one and
// leaves the other alone.
func TestServers(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.mkdir("www")
	u.mkdir("data")
	u.File("www/page", "a page\n")
	web, store := loopback.Port(t), loopback.Port(t)
	// It is root as far as it can tell, and would change to a user that nobody is here.
	u.File("www/nginx.conf", `user root; daemon off; master_process off; error_log stderr; pid /tmp/pid;
events { worker_connections 16; }
http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 127.0.0.1:`+web+`; root {{DIR}}/www; } }
`)
	policy := func(memory string) string {
		return `
application: a
grants:
  web:   {listen: "tcp:127.0.0.1:` + web + `"}
  store: {listen: "tcp:127.0.0.1:` + store + `"}
  data:  {directory: "{{DIR}}/data", access: read-write}
components:
  nginx:
    extends: network-daemon
    command: [/usr/sbin/nginx, -c, "{{DIR}}/www/nginx.conf", -e, stderr]
    grants: [web]
    syscalls: ["@aio"]
    files: {read: ["{{DIR}}/www"], temporary: [/tmp]}
    limits: {memory: ` + memory + `}
    ready: {connect: web}
  redis:
    extends: network-daemon
    command: [/usr/bin/redis-server, --dir, "{{DIR}}/data", --port, "` + store + `", --bind, 127.0.0.1, --appendonly, "yes"]
    grants: [data, {store: {at-start: false}}]
    transparent: true
    limits: {open-files: 10032, processes: 16}
    ready: {connect: store}
`
	}
	a := u.Start(policy("256M"))
	a.Expect("up after")
	if answer := talk(t, web, "GET /page HTTP/1.0\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("nginx answers %q", answer)
	}
	if answer := talk(t, store, "SET key value\r\n"); answer != "+OK\r\n" {
		t.Errorf("redis answers %q", answer)
	}
	// The monitor is nobody's to look at but root's: that is all that is missing.
	if status, said := u.Run("inspect", "--verify", a.Name); status != 1 || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "a: not seen: the monitor, process ") {
		t.Errorf("inspect ends with status %d and says:\n%s", status, said)
	}
	before := worker(t, a, "redis")
	a.ask("reload", u.File("policy.yaml", policy("300M")))
	if answer := talk(t, store, "GET key\r\n"); answer != "$5\r\nvalue\r\n" {
		t.Errorf("redis answers %q after the reload", answer)
	}
	if after := worker(t, a, "redis"); after != before {
		t.Errorf("the reload restarted redis: %s, %s", before, after)
	}
	await(t, "nginx serves after the reload", func() bool {
		return strings.HasPrefix(talk(t, web, "GET /page HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 ")
	})
	if files, _ := filepath.Glob(u.Dir + "/data/appendonlydir/*"); len(files) == 0 {
		t.Error("redis wrote nothing into the granted directory")
	}
}

// worker is the line of ps about a component.
func worker(t *testing.T, a *Application, component string) string {
	t.Helper()
	for line := range strings.Lines(a.ask("ps", a.Name)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.Contains(line, component) {
			return strings.Join(fields[:3], " ")
		}
	}
	t.Errorf("ps does not have %s", component)
	return ""
}

// A shell is split at its execs: the helper has a file that the shell has not, and what the shell may
// not do is denied with the line that would allow it.
func TestSplit(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.File("secret", "the secret\n")
	helper := u.File("helper", "#!"+busybox(t)+" sh\ncat {{DIR}}/secret; exit 7\n")
	if err := os.Chmod(helper, 0o755); err != nil {
		t.Fatal(err)
	}
	a := u.Start(strings.ReplaceAll(`
application: a
components:
  shell:
    command: [BUSYBOX, sh, -c, "{{DIR}}/helper; echo status $?; cat {{DIR}}/secret; mkdir /x; exit 0"]
    files: {execute: [BUSYBOX]}
    limits: {processes: 8}
    may-start: [helper]
    restart: never
  helper:
    start: on-exec
    replaces: ["{{DIR}}/helper"]
    files: {read: ["{{DIR}}/secret"], execute: [BUSYBOX]}
    limits: {processes: 8}
`, "BUSYBOX", busybox(t)))
	if status := a.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"| the secret\n", "| status 7\n", "No such file or directory", "shell: denied: mkdir(", "components.shell.syscalls"} {
		if !strings.Contains(a.Said(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Count(a.Said(), "the secret") != 1 {
		t.Error("the shell has the helper's file")
	}
}

// A granted directory by its paths, and nothing beside it.
func TestTransparentFiles(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.mkdir("data")
	u.File("beside", "not for it\n")
	a := u.Start(strings.ReplaceAll(`
application: a
grants: {data: {directory: "{{DIR}}/data", access: read-write}}
components:
  web:
    command: [BUSYBOX, sh, -c, "cd {{DIR}}/data && mkdir sub && echo text > sub/file && mv sub/file sub/other && cat sub/other && ls -R . && cat ../beside; pwd"]
    files: {execute: [BUSYBOX]}
    limits: {processes: 8}
    grants: [data]
    transparent: true
    restart: never
`, "BUSYBOX", busybox(t)))
	a.Wait()
	for _, want := range []string{"| text\n", "| ./sub:\n", "beside': No such file", "| " + u.Dir + "/data\n"} {
		if !strings.Contains(a.Said(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if b, err := os.ReadFile(u.Dir + "/data/sub/other"); err != nil || string(b) != "text\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// The name of a grant is looked up by the resolver's component, which has no right but that. Its answer
// is waited for for a bounded time: on a slow machine the client may be there before it, and comes again.
func TestName(t *testing.T) {
	needsGroup(t)
	u := New(t)
	port := loopback.Port(t)
	a := u.Start(strings.ReplaceAll(`
application: a
grants:
  door: {listen: "tcp:127.0.0.1:`+port+`"}
  call: {connect: "tcp:localhost:`+port+`"}
components:
  server: {command: [BUSYBOX, echo, "you are heard"], start: per-connection, grants: [door: {number: 1}]}
  client: {command: [BUSYBOX, nc, localhost, "`+port+`"], grants: [call], restart: on-failure, restart-delay: 100ms, restart-delay-maximum: 100ms}
supervision: {restarts: 1000, within: 10s}
`, "BUSYBOX", busybox(t)))
	a.Expect("you are heard")
}

// Limits hold: by the groups that were delegated.
func TestLimits(t *testing.T) {
	needsGroup(t)
	u := New(t)
	a := u.Start(strings.ReplaceAll(`
application: a
components:
  memory:
    command: [BUSYBOX, sh, -c, "x=0123456789abcdef; while :; do x=$x$x; done"]
    limits: {memory: 16M}
    restart: never
  processes:
    command: [BUSYBOX, sh, -c, "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait; echo never"]
    files: {execute: [BUSYBOX]}
    limits: {processes: 4}
    restart: never
`, "BUSYBOX", busybox(t)))
	a.Expect("memory limit of 16M", "can't fork")
}

// A controller that was not delegated: the limit is refused with its line, unless it may be missing.
func TestControllerMissing(t *testing.T) {
	needsGroup(t)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	base, err := h.Base()
	if err != nil {
		t.Fatal(err)
	}
	enabled := h.Unified + base + "/cgroup.subtree_control"
	if err := os.WriteFile(enabled, []byte("-pids -io"), 0); err != nil {
		t.Fatalf("take two controllers away: %v", err)
	}
	// And they stay away.
	if err := os.Chmod(enabled, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(enabled, 0o644) })
	few := h.Unified + base + "/few"
	if err := os.Mkdir(few, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { await(t, few+" is empty", func() bool { return os.Remove(few) == nil }) })
	t.Cleanup(func() { os.Remove(few + "/broker"); os.Remove(few + "/session"); os.Remove(few + "/sandbox") })
	// As a service manager says it: this group, and none above it.
	if err := unix.Setxattr(few, "user.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		optional string
		status   int
		message  string
	}{
		{"", 125, `policy.yaml:3:3: component "web": its limits (processes) take the controller pids, which the cgroups of ` + few + " cannot have"},
		{", optional: [processes]", 0, "| hello"},
	} {
		u := New(t)
		policy := u.File("policy.yaml", strings.ReplaceAll("application: a\ncomponents:\n  web: {command: [BUSYBOX, echo, hello], restart: never"+c.optional+"}\n", "BUSYBOX", busybox(t)))
		ctx := t.Context()
		command := u.Command(ctx, "run", policy)
		shell := u.Command(ctx)
		shell.Path = busybox(t)
		shell.Args = append([]string{"busybox", "sh", "-c", `mkdir -p "$0/session" && echo $$ > "$0/session/cgroup.procs" && exec "$@"`, few}, command.Args...)
		said, _ := shell.CombinedOutput()
		if status := shell.ProcessState.ExitCode(); status != c.status || !strings.Contains(string(said), c.message) {
			t.Errorf("%q: status %d:\n%s", c.optional, status, said)
		}
	}
}

// However a broker dies, it takes its application with it.
func TestKilled(t *testing.T) {
	needsGroup(t)
	u := New(t)
	a := u.Start(strings.ReplaceAll("application: a\ncomponents:\n  web: {command: [BUSYBOX, sleep, \"1000\"]}\n", "BUSYBOX", busybox(t)))
	a.Expect("up after")
	a.command.Process.Kill()
	<-a.ended
	await(t, "nothing of it is left", func() bool {
		left, _ := filepath.Glob(u.Dir + "/run/sandbox/a")
		return len(left) == 0
	})
}

// One program without a policy.
func TestWrap(t *testing.T) {
	needsGroup(t)
	u := New(t)
	if status, said := u.Run("wrap", "--", busybox(t), "sh", "-c", "echo hello; exit 3"); status != 3 || said != "hello\n" {
		t.Errorf("status %d: %q", status, said)
	}
	u.nothingLeft("*")
}

// What is mounted below a directory that a component may read is as it is: for the user, who mounts it
// in a user namespace of his own, the builder has no privilege over it.
func TestMountsBelow(t *testing.T) {
	needsGroup(t)
	u := New(t)
	u.mkdir("books")
	u.mkdir("books/shelf")
	u.File("policy.yaml", strings.ReplaceAll(`
application: a
components:
  reader:
    command: [BUSYBOX, sh, -c, "cd {{DIR}}/books/shelf && grep books /proc/self/mountinfo; cat moby; chmod 600 moby && echo changed; exit 0"]
    syscalls: ["@default", "@process", "@file-system"]
    files: {read: ["{{DIR}}/books"]}
`, "BUSYBOX", busybox(t)))
	status, said := u.run(func(ctx context.Context) *exec.Cmd {
		command := u.Command(ctx)
		command.Path = "/usr/bin/unshare"
		command.Args = []string{"unshare", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", `
mount -t tmpfs shelf books/shelf && echo "Call me Ishmael." >books/shelf/moby &&
exec /usr/bin/setpriv --ambient-caps -all --inh-caps -all "$0" run policy.yaml`, u.Sandbox}
		return command
	})
	if status != 0 || !strings.Contains(said, "Call me Ishmael.") || strings.Contains(said, "changed") {
		t.Errorf("status %d:\n%s", status, said)
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "/books") && strings.Contains(line, " - ") && !strings.Contains(line, " ro,nosuid,nodev") {
			t.Errorf("it is mounted as %s", line)
		}
	}
	u.nothingLeft("a")
}
