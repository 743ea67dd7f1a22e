package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/plan"
)

const dynamicFirst, dynamicEnd = 1879048192, 2147483647

func TestComponentsWithoutAUserAreNobodyOnTheHost(t *testing.T) {
	var text strings.Builder
	text.WriteString("application: ids\ncomponents:\n")
	for i := range 200 {
		fmt.Fprintf(&text, "  c%d: {command: [/usr/bin/static]}\n", i)
	}
	result, err := parsed(t, text.String(), hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]string{}
	for _, c := range result.Components {
		if c.User.UID != 1000 || c.User.GID != 1000 || c.User.Name != "worker" || c.User.Home != "/" {
			t.Fatalf("inside: %+v", c.User)
		}
		for _, id := range []uint32{c.Hosts.Init, c.Hosts.UID, c.Hosts.GID} {
			if id < dynamicFirst || id >= dynamicEnd {
				t.Errorf("%s has the host id %d", c.Name, id)
			}
			if other, taken := seen[id]; taken {
				t.Errorf("%s and %s share the id %d", c.Name, other, id)
			}
			seen[id] = c.Name
		}
	}
	again, err := parsed(t, text.String(), hosttest.New())
	if err != nil || again.Components[7].Hosts.UID != result.Components[7].Hosts.UID {
		t.Error("the next start has other ids")
	}
}

func TestNamedUsersKeepTheirIDs(t *testing.T) {
	result, err := parsed(t, `
application: a
components:
  db: {command: [/usr/bin/redis-server], user: redis}
  groups: {command: [/usr/bin/static], groups: [alice, adm]}
  root: {command: [/usr/bin/static], user: root}
`, hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	db, groups, root := result.Components[0], result.Components[1], result.Components[2]
	if db.User.UID != 105 || db.Hosts.UID != 105 || db.User.GID != 113 || db.Hosts.GID != 113 || len(db.User.Groups) != 0 || db.Hosts.Init < dynamicFirst {
		t.Errorf("redis: %+v %+v", db.User, db.Hosts)
	}
	// alice's group has the number that a worker's own group has inside.
	if groups.User.GID == 1000 || fmt.Sprint(groups.User.Groups) != "[1000 4]" || fmt.Sprint(groups.Hosts.Groups) != "[1000 4]" {
		t.Errorf("groups: %+v %+v", groups.User, groups.Hosts)
	}
	if root.User.UID != 0 || root.Hosts.UID != 0 || root.Hosts.Init != 0 {
		t.Errorf("root: %+v %+v", root.User, root.Hosts)
	}
}

func TestAnOrdinaryUserIsOnlyItself(t *testing.T) {
	host := hosttest.New()
	host.UID, host.GID = 1000, 1000
	result, err := parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], user: alice, group: alice}}\n", host)
	if err != nil {
		t.Fatal(err)
	}
	c := result.Components[0]
	if c.Hosts.Init != 1000 || c.Hosts.UID != 1000 || c.Hosts.GID != 1000 || c.User.UID != 0 {
		t.Errorf("%+v %+v", c.User, c.Hosts)
	}
	_, err = parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], user: redis, groups: [adm]}}\n", host)
	if err == nil || !strings.Contains(err.Error(), "policy.yaml:2:54") || !strings.Contains(err.Error(), `"adm"`) {
		t.Errorf("got %v", err)
	}
	_, err = parsed(t, "application: a\ncontrol: {read-group: alice}\ncomponents: {web: {command: [/usr/bin/static]}}\n", host)
	if err == nil || !strings.Contains(err.Error(), "policy.yaml:2:23") {
		t.Errorf("got %v", err)
	}
}

func TestScriptsRunTheirInterpreters(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/local/bin/tool.sh, a": "/bin/sh: /bin/sh -e /usr/local/bin/tool.sh a",
		"/usr/local/bin/tool.py, a": "/usr/bin/python3: /usr/bin/python3 /usr/local/bin/tool.py a",
		"/usr/bin/djpeg, a":         "/usr/bin/djpeg: /usr/bin/djpeg a",
	} {
		result, err := parsed(t, "application: a\ncomponents: {web: {command: ["+command+"]}}\n", hosttest.New())
		if err != nil {
			t.Fatal(err)
		}
		c := result.Components[0]
		if got := c.Program + ": " + strings.Join(c.Arguments, " "); got != want {
			t.Errorf("%s runs %q, want %q", command, got, want)
		}
	}
}

func TestTheClosureIsWhatLdSoLoads(t *testing.T) {
	const loader = "/lib64/ld-linux-x86-64.so.2"
	host := hosttest.New()
	library := func(name string, e hosttest.ELF) { host.File(name, 0o644, e.Bytes()) }
	host.File("/opt/app/bin/main", 0o755, hosttest.ELF{Interpreter: loader, RunPath: "$ORIGIN/../lib", Needed: []string{"liba.so", "/opt/app/plugin.so"}}.Bytes())
	library("/opt/app/lib/liba.so", hosttest.ELF{Needed: []string{"libb.so", "libc.so.6"}})
	// RUNPATH is not inherited: liba's libb comes from the standard directory.
	library("/opt/app/lib/libb.so", hosttest.ELF{})
	library("/usr/lib/x86_64-linux-gnu/libb.so", hosttest.ELF{})
	library("/opt/app/plugin.so", hosttest.ELF{RPath: "/opt/rpath", Needed: []string{"libr.so"}})
	// RPATH is: libr's libs comes from where the plugin says.
	library("/opt/rpath/libr.so", hosttest.ELF{Needed: []string{"libs.so"}})
	library("/opt/rpath/libs.so", hosttest.ELF{})
	result, err := parsed(t, "application: a\ncomponents: {web: {command: [/opt/app/bin/main]}}\n", host)
	if err != nil {
		t.Fatal(err)
	}
	got := shown(result.Components[0])
	want := map[string]plan.Access{
		"/opt/app/bin/main":                              plan.Read | plan.Execute,
		"/opt/app/lib/liba.so":                           plan.Read,
		"/opt/app/plugin.so":                             plan.Read,
		"/opt/rpath/libr.so":                             plan.Read,
		"/opt/rpath/libs.so":                             plan.Read,
		"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": plan.Read | plan.Execute,
		"/usr/lib/x86_64-linux-gnu/libb.so":              plan.Read,
		"/usr/lib/x86_64-linux-gnu/libc.so.6":            plan.Read,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEntriesBelowADirectoryThatShowsThemAreDropped(t *testing.T) {
	result, err := parsed(t, `
application: a
components:
  web:
    command: [/usr/bin/djpeg]
    files: {read: [/usr, /srv/www/private], write: [/srv/www]}
`, hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	previous := ""
	for _, e := range result.Components[0].Root {
		if e.Target <= previous {
			t.Errorf("%s comes after %s", e.Target, previous)
		}
		previous = e.Target
		if strings.HasPrefix(e.Target, "/usr/lib/") && e.Access&plan.Execute == 0 {
			t.Errorf("%s is shown by /usr already", e.Target)
		}
		if e.Access&plan.Write != 0 && e.Access&plan.Execute != 0 {
			t.Errorf("%s is writable and executable", e.Target)
		}
	}
	access := shown(result.Components[0])
	if access["/srv/www"] != plan.Read|plan.Write || access["/srv/www/private"] != plan.Read {
		t.Errorf("a part that is only read inside one that is written: %v", access)
	}
}

func TestDescriptorNumbers(t *testing.T) {
	result, err := parsed(t, `
application: a
grants:
  log: {file: /var/log/a.log, access: append, create: true}
  one: {listen: "tcp:127.0.0.1:1"}
  two: {listen: "tcp:127.0.0.1:2"}
  dir: {directory: /srv/thumbs}
  out: {connect: "tcp:127.0.0.1:3"}
components:
  web:
    command: [/usr/bin/static]
    grants: [log, one, out, dir, two: {number: 4}]
  inetd:
    command: [/usr/bin/static]
    start: per-connection
    grants: [one: {number: 0}, out: {at-start: true}]
`, hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	// Listening sockets stand first, from 3 on, as sd_listen_fds(3) wants it.
	if got := fmt.Sprint(result.Components[0].Grants); got != "[{0 5} {1 3} {4 -1} {3 -1} {2 4}]" {
		t.Errorf("web: %s", got)
	}
	if got := fmt.Sprint(result.Components[1].Grants); got != "[{1 0} {4 3}]" {
		t.Errorf("inetd: %s", got)
	}
	if !result.Components[0].Transparent || !result.Components[1].Transparent {
		t.Error("components with network grants are transparent by default")
	}
}

func TestRootIsWarnedAboutAndSecretsStayOutOfMessages(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte("application: a\ncomponents: {web: {command: [/usr/bin/static], user: root, environment: {T: {from-file: /etc/secret}}}}\n"), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	result, warnings, err := policy.Compile(p, hosttest.New())
	if err != nil || len(warnings) != 1 || !warnings[0].Warning {
		t.Fatalf("%v %v", warnings, err)
	}
	if got := result.Components[0].Environment; len(got) != 1 || got[0] != "T=hunter2" {
		t.Errorf("environment: %q", got)
	}
}

// BenchmarkCompile20 compiles an application of 20 components on the machine
// that it runs on; issue 5 allows 20 ms.
func BenchmarkCompile20(b *testing.B) {
	var text strings.Builder
	text.WriteString("application: big\ngrants:\n")
	for i := range 20 {
		fmt.Fprintf(&text, "  g%d: {listen: \"tcp:127.0.0.1:%d\"}\n", i, 8000+i)
	}
	text.WriteString("components:\n")
	for i := range 20 {
		fmt.Fprintf(&text, "  c%d:\n    extends: network-daemon\n    command: [/usr/bin/env, -i, %d]\n    grants: [g%d]\n    files: {read: [/etc/passwd], execute: [/bin/sh]}\n    limits: {memory: 64M}\n", i, i, i)
	}
	for b.Loop() {
		p, err := policy.Parse("big.yaml", []byte(text.String()), policy.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := policy.Compile(p, policy.LocalHost()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPermissionBitsAreWarnedAboutOnlyWhereTheyKeepTheUserOut(t *testing.T) {
	for who, want := range map[string]int{"": 2, "user: redis, ": 0, "groups: [redis], ": 1} {
		text := "application: a\ncomponents: {web: {command: [/usr/bin/static], " + who + "files: {read: [/etc/redis/redis.conf], write: [/var/lib/redis]}}}\n"
		p, err := policy.Parse("p.yaml", []byte(text), policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, warnings, err := policy.Compile(p, hosttest.New()); err != nil || len(warnings) != want {
			t.Errorf("%q: %v, %v", who, warnings, err)
		}
	}
}

func TestADirectoryWithWritableFilesIsNotWarnedAbout(t *testing.T) {
	host := hosttest.New()
	host.File("/var/log/nginx/access.log", 0o640, "")
	host.Own("/var/log/nginx/access.log", 33, 4)
	p, err := policy.Parse("p.yaml", []byte("application: a\ncomponents: {web: {command: [/usr/bin/static], user: www-data, files: {write: [/var/log/nginx]}}}\n"), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := policy.Compile(p, host); err != nil || len(warnings) != 0 {
		t.Errorf("%v, %v", warnings, err)
	}
}

func TestAScriptBehindEnvBringsItsInterpreter(t *testing.T) {
	result, err := parsed(t, "application: a\ncomponents: {web: {command: [/usr/bin/static], files: {execute: [/usr/local/bin/tool.py]}}}\n", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	access := shown(result.Components[0])
	for _, name := range []string{"/usr/local/bin/tool.py", "/usr/bin/env", "/usr/bin/python3.11"} {
		if access[name] != plan.Read|plan.Execute {
			t.Errorf("%s has the access %d", name, access[name])
		}
	}
}

// vsftpd is so: a session gets its connection, and binds a port for the data.
func TestAConnectionsWorkerMayBindWhatItHasNotAtStart(t *testing.T) {
	const text = "application: a\n" +
		"grants: {control: {listen: \"tcp:127.0.0.1:21\"}, data: {listen: \"tcp:127.0.0.1:2120\"}}\n" +
		"components: {ftp: {extends: network-daemon, command: [/usr/bin/static], start: per-connection, grants: [{control: {number: 0}}, %s]}}\n"
	for use, want := range map[string]bool{"{data: {at-start: false}}": true, "data": false} {
		p, err := policy.Parse("p.yaml", []byte(fmt.Sprintf(text, use)), policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		result, warnings, err := policy.Compile(p, hosttest.New())
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %v, %v", use, warnings, err)
		} else if got := result.Components[0].Transparent; got != want {
			t.Errorf("%s: transparent is %v", use, got)
		}
	}
}

func TestContentIsFilledInAndWinsOverWhatIsGenerated(t *testing.T) {
	result, err := parsed(t, `application: a
variables: {port: "8080"}
components:
  web:
    command: [/usr/bin/static]
    files:
      content:
        /var/run/web.conf: |
          port ${port}
          cost $${port}
        /etc/hosts: "192.0.2.1 ship\n"
`, hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, e := range result.Components[0].Root {
		if e.Kind == plan.EntryData {
			content[e.Target] = e.Content
		}
	}
	if got := content["/run/web.conf"]; got != "port 8080\ncost ${port}\n" { // /var/run is a link
		t.Errorf("the file is %q", got)
	}
	if got := content["/etc/hosts"]; got != "192.0.2.1 ship\n" {
		t.Errorf("/etc/hosts is %q", got)
	}
}
