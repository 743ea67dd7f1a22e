package ordinary

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// needRoot are the keys with which an ordinary user's application does not do what root's would:
// the rows of the table in docs/policy.md. When it is said: by `sandbox check`, or at the start.
var needRoot = []struct {
	key, without string
	start        bool
	policy       string
	message      string // a regular expression
}{
	{"`user:`", "with subordinate ids one of those stands for another user, and owns nothing of his; without them a mistake, but for the user's own name; `root` always", false,
		"application: a\ncomponents:\n  web: {command: [BUSYBOX, id], user: daemon}\n",
		`policy.yaml:3:\d+: an ordinary user cannot run a component as "daemon" here: `},
	{"`group:`, `groups:`", "the same, but for the user's own group", false,
		"application: a\ncomponents:\n  web: {command: [BUSYBOX, id], groups: [daemon]}\n",
		`policy.yaml:3:\d+: an ordinary user cannot give a component the group "daemon" here: `},
	{"`become:`", "the same; it begins as the user, with power over its compartment only", false,
		"application: a\ncomponents:\n  web: {command: [BUSYBOX, id], become: [daemon]}\n",
		`policy.yaml:3:\d+: an ordinary user cannot let a component become "daemon" here: `},
	{"`control: {read-group:}`", "a mistake: the state is in the user's own directory", false,
		"application: a\ncontrol: {read-group: daemon}\ncomponents:\n  web: {command: [BUSYBOX, id]}\n",
		`policy.yaml:2:23: an ordinary user's application can be asked by nobody else`},
	{"`files:`, `directory:` grants", "a warning where the permission bits keep the user out; the program gets EACCES", false,
		"application: a\ngrants: {etc: {directory: /etc, access: read-write}}\ncomponents:\n  web: {command: [BUSYBOX, id], grants: [etc], files: {write: [/usr/lib]}}\n",
		`policy.yaml:4:\d+: warning: the permission bits of /usr/lib (.|\n)*policy.yaml:2:27: warning: the permission bits of /etc |policy.yaml:2:27: warning: the permission bits of /etc (.|\n)*policy.yaml:4:\d+: warning: the permission bits of /usr/lib `},
	{"`file:`, `device:` grants", "the same warning, and the component does not start where it gets the descriptor at its start", true,
		"application: a\ngrants: {names: {file: /etc/passwd, access: append}}\ncomponents:\n  web: {command: [BUSYBOX, id], grants: [names], restart: never}\n",
		`policy.yaml:2:\d+: warning: the permission bits of /etc/passwd (.|\n)*policy.yaml:2:10: open grant names \(/etc/passwd\): permission denied`},
	{"`listen: \"tcp:…\"` below port 1024", "no start, unless `net.ipv4.ip_unprivileged_port_start` allows it", true,
		"application: a\ngrants: {web: {listen: \"tcp:127.0.0.1:80\"}}\ncomponents:\n  web: {command: [BUSYBOX, id], grants: [web]}\n",
		`policy.yaml:2:10: grant "web": listen on tcp:127.0.0.1:80: permission denied`},
	{"`listen: \"unix:…\"` in another's directory", "no start", true,
		"application: a\ngrants: {web: {listen: \"unix:/usr/web\"}}\ncomponents:\n  web: {command: [BUSYBOX, id], grants: [web]}\n",
		`policy.yaml:2:10: grant "web": listen on unix:/usr/web: `},
	{"`listen: \"udp:…\"`, `connect: \"udp:…\"`", "no start, unless `optional: [addresses]`: the wall of addresses takes root", true,
		"application: a\ngrants: {dns: {connect: \"udp:127.0.0.1:53\"}}\ncomponents:\n  web: {command: [BUSYBOX, id], grants: [dns]}\n",
		`policy.yaml:2:10: component "web": limit where its datagrams go: .*operation not permitted; run it as root .*optional: \[addresses\]`},
	{"`limits:` above the user's hard limits (`ulimit -H`)", "no start: `open-files`, `processes`, `locked-memory`, `file-size`, `core-size`", true,
		"application: a\ncomponents:\n  web: {command: [BUSYBOX, id], limits: {locked-memory: 900G}}\n",
		`policy.yaml:3:3: component "web" may have 966367641600 bytes of locked memory, but this process at most \d+ \(ulimit -Hl\): operation not permitted`},
	{"`limits:` whose controller was not delegated", "no start, unless `optional:` names the wall (`memory`, `processes`, `cpu`, `io`)", true, "", ""},
	{"`logs: {file:}` in another's directory", "no start", true,
		"application: a\ncomponents:\n  web: {command: [BUSYBOX, id], logs: {file: /usr/web.log}}\n",
		`policy.yaml:3:\d+: .*/usr/web.log.*permission denied`},
}

// Whatever takes root is refused at its line, by check where it can be known, and nothing is left.
func TestKeysThatNeedRoot(t *testing.T) {
	for _, k := range needRoot {
		if k.policy == "" {
			continue // a test of its own
		}
		t.Run(k.key, func(t *testing.T) {
			if k.start {
				needsGroup(t)
			}
			u := New(t)
			policy := u.File("policy.yaml", strings.ReplaceAll(k.policy, "BUSYBOX", busybox(t)))
			// Without subordinate ids, whether the user has some or not.
			run, verb, want := u.Without, "check", 1
			if k.start {
				run, verb, want = u.Run, "run", 125
			}
			if strings.Contains(k.without, "a warning") {
				want = 0
			}
			status, said := run(verb, policy)
			if status != want || !regexp.MustCompile(k.message).MatchString(said) {
				t.Errorf("status %d, not %d, or what it says is not %q:\n%s", status, want, k.message, said)
			}
			if !k.start && want != 0 {
				if status, _ := run("run", policy); status != 125 {
					t.Errorf("run ends with status %d", status)
				}
			}
			u.nothingLeft("a")
		})
	}
}

const page = "../../docs/policy.md"

// The table of the documentation is this one.
func TestTableOfKeys(t *testing.T) {
	const begin, end = "<!-- begin without-root -->\n", "<!-- end without-root -->"
	var table strings.Builder
	table.WriteString("| key | without root | said by |\n| --- | --- | --- |\n")
	for _, k := range needRoot {
		by := "`check`"
		if k.start {
			by = "`run`"
		}
		table.WriteString("| " + k.key + " | " + k.without + " | " + by + " |\n")
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(b), begin)
	have, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table between %q and %q", page, begin, end)
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != table.String() {
		t.Errorf("%s has another table; go test ./test/ordinary -run Table -update writes it:\n%s", page, table.String())
	}
}
