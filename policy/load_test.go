package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/plan"
	"bulkhead/test/golden"
)

// write makes a file below a directory for the test.
func write(t *testing.T, directory, name, text string) string {
	t.Helper()
	path := filepath.Join(directory, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func compiled(t *testing.T, path string, set ...string) *plan.Plan {
	t.Helper()
	_, result, _, err := check(path, hosttest.New(), set...)
	if err != nil {
		t.Fatalf("\n%v", err)
	}
	return result
}

func parsed(t *testing.T, text string, host policy.Host) (*plan.Plan, error) {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text), policy.Options{})
	if p == nil {
		return nil, err
	}
	result, _, err := policy.Compile(p, host)
	return result, err
}

const small = `application: small
components:
  web:
    command: [/usr/bin/static]
    limits: {memory: 64M}
`

func TestDropInsApplyInOrderAndOnlyToTheirApplication(t *testing.T) {
	directory := t.TempDir()
	path := write(t, directory, "small.yaml", small)
	write(t, directory, "policy.d/20.yaml", "components: {web: {limits: {memory: 256M}}}\n")
	write(t, directory, "policy.d/10.yaml", "components: {web: {limits: {memory: 128M, processes: 2}}}\n")
	write(t, directory, "policy.d/30.yaml", "application: other\ncomponents: {web: {limits: {memory: 1G}}}\n")
	write(t, directory, "policy.d/README", "not YAML: [\n")
	limits := compiled(t, path).Components[0].Limits
	if limits.Memory != 256<<20 || limits.Processes != 2 {
		t.Errorf("got %+v", limits)
	}
}

func TestADropInOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away; the virtual machine's run of the tests is root's")
	}
	directory := t.TempDir()
	path := write(t, directory, "small.yaml", small)
	foreign := write(t, directory, "policy.d/10.yaml", "components: {web: {network: host}}\n")
	if err := os.Chown(foreign, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := check(path, hosttest.New())
	if err == nil || !strings.Contains(err.Error(), "10.yaml: the drop-in belongs to another user (12345)") {
		t.Errorf("got %v", err)
	}
}

func TestSetOverridesEverything(t *testing.T) {
	directory := t.TempDir()
	path := write(t, directory, "small.yaml", small+"variables: {level: info}\n")
	write(t, directory, "policy.d/10.yaml", "components: {web: {environment: {LEVEL: \"${level}\"}}}\n")
	c := compiled(t, path, "components.web.limits.memory=1G", "level=debug", "components.web.command=[/usr/bin/static, a, 'b=c']").Components[0]
	if c.Limits.Memory != 1<<30 || strings.Join(c.Environment, " ") != "LEVEL=debug" || strings.Join(c.Arguments, " ") != "/usr/bin/static a b=c" {
		t.Errorf("got %+v %q %q", c.Limits, c.Environment, c.Arguments)
	}
}

func TestSetMistakesHavePositions(t *testing.T) {
	path := write(t, t.TempDir(), "small.yaml", small)
	_, _, _, err := check(path, hosttest.New(), "components.web.limits.memory=64MB", "components.web.limts.memory=1", "nonsense", "components.web.umask=[")
	if err == nil {
		t.Fatal("no error")
	}
	golden.Expect(t, "testdata/set.golden", err.Error()+"\n")
}

func TestMergeRules(t *testing.T) {
	directory := t.TempDir()
	write(t, directory, "base.yaml", `
components:
  base:
    command: [/usr/bin/djpeg, -scale]
    files: {read: /srv/www, hidden: [/srv/www/private]}
    environment: [LANG, TERM]
    limits: {memory: 64M, processes: 3}
    ready: notify
`)
	path := write(t, directory, "policy.yaml", `
application: merge
components:
  adds:
    extends: ./base.yaml
    command: [/usr/bin/static]
    files: {read: /srv/app}
    environment: {TERM: dumb}
    limits: {memory: 128M}
    ready: {fd: 5}
  replaces:
    extends: ./base.yaml#base
    files: {read: {replace: [/srv/app]}, hidden: {replace: []}}
`)
	result := compiled(t, path)
	adds, replaces := result.Components[0], result.Components[1]
	if strings.Join(adds.Arguments, " ") != "/usr/bin/static" {
		t.Errorf("command: %q", adds.Arguments)
	}
	if targets := shown(adds); targets["/srv/www"] == 0 || targets["/srv/app"] == 0 {
		t.Errorf("lists do not add: %v", targets)
	}
	if got := strings.Join(adds.Environment, " "); got != "LANG=C.UTF-8 TERM=dumb" {
		t.Errorf("environment: %s", got)
	}
	if adds.Limits.Memory != 128<<20 || adds.Limits.Processes != 3 {
		t.Errorf("limits: %+v", adds.Limits)
	}
	if adds.Life.Ready.Kind != plan.ReadyFD || adds.Life.Ready.Number != 5 {
		t.Errorf("ready: %+v", adds.Life.Ready)
	}
	if targets := shown(replaces); targets["/srv/www"] != 0 || targets["/srv/app"] == 0 {
		t.Errorf("replace adds: %v", targets)
	}
}

// shown returns the access of every bind.
func shown(c plan.Component) map[string]plan.Access {
	result := map[string]plan.Access{}
	for _, e := range c.Root {
		if e.Kind == plan.EntryBind {
			result[e.Target] = e.Access
		}
	}
	return result
}

func TestAProfileBringsItsGrantsAndThePolicyChangesThem(t *testing.T) {
	directory := t.TempDir()
	write(t, directory, "server.yaml", `
variables: {port: 80}
grants: {http: {listen: "tcp:127.0.0.1:${port}", backlog: 9}, unused: {listen: "tcp:127.0.0.1:81"}}
components: {server: {command: [/usr/bin/static], grants: [http]}}
`)
	path := write(t, directory, "policy.yaml", `
application: grants
variables: {port: 8080}
grants: {http: {backlog: 77}}
components: {web: {extends: ./server.yaml}}
`)
	result := compiled(t, path)
	if len(result.Grants) != 1 || result.Grants[0].Port != 8080 || result.Grants[0].Backlog != 77 {
		t.Errorf("got %+v", result.Grants)
	}
}

func TestEveryProfileCompiles(t *testing.T) {
	for _, name := range policy.ProfileNames() {
		text := "application: a\ncomponents:\n  x:\n    extends: " + name + "\n    command: [/usr/bin/static]\n"
		if profile, err := os.ReadFile("../profiles/" + name + ".yaml"); err != nil {
			t.Error(err)
		} else if !strings.Contains(string(profile), "\n  "+name+":\n") {
			text = "include: " + name + "\napplication: a\n" // of several components
		}
		if _, err := parsed(t, text, hosttest.New()); err != nil && !strings.Contains(err.Error(), "does not exist") && !strings.Contains(err.Error(), "the host has no") {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

func TestMistakesOfAllFilesComeAtOnceInOrder(t *testing.T) {
	directory := t.TempDir()
	write(t, directory, "other.yaml", "components: {other: {command: [/usr/bin/static], umsk: 022}}\n")
	path := write(t, directory, "policy.yaml", "application: a\ninclude: other.yaml\ncomponents: {web: {command: [/nowhere], umask: 8}}\n")
	_, _, _, err := check(path, hosttest.New())
	problems, ok := err.(*policy.Problems)
	if !ok || len(problems.List) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"policy.yaml", "policy.yaml", "other.yaml"} {
		if filepath.Base(problems.List[i].Position.File) != want {
			t.Errorf("problem %d is in %s, want %s", i, problems.List[i].Position.File, want)
		}
	}
}

// TestHostileTextsEndSoon: what would keep the YAML parser busy for minutes,
// or overflow its stack, is refused first.
func TestHostileTextsEndSoon(t *testing.T) {
	var keys strings.Builder
	for i := 0; keys.Len() < 1<<20-100; i++ {
		keys.WriteString("k" + strings.Repeat("x", i%7) + ": v\n")
	}
	aliases := "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for c := 'b'; c < 'z'; c++ {
		aliases += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 10), ",") + "]\n"
	}
	variables := "application: a\nvariables:\n  v0: " + strings.Repeat("x", 1000) + "\n"
	for i := 1; i < 26; i++ {
		variables += "  v" + string(rune('a'+i)) + ": \"" + strings.Repeat("${v"+map[bool]string{true: "0", false: string(rune('a' + i - 1))}[i == 1]+"}", 100) + "\"\n"
	}
	for name, text := range map[string]string{
		"ten megabytes":          strings.Repeat("a: b\n", 2<<20),
		"many keys":              keys.String(),
		"brackets":               strings.Repeat("[", 1<<19),
		"braces":                 "a: " + strings.Repeat("{a: ", 1<<17),
		"dashes":                 strings.Repeat("- ", 1<<18) + "x",
		"question marks":         strings.Repeat("? ", 1<<18) + "x",
		"indentation":            deepKeys(5000),
		"aliases of aliases":     aliases,
		"variables of variables": variables,
		"an open quote":          "a: '" + strings.Repeat("\n x", 9000),
		"one long line":          "a: [" + strings.Repeat("x, ", 1<<18) + "]",
		"NUL":                    "a: \x00",
		"not UTF-8":              "a: \xff\xfe",
		"UTF-16":                 "\xff\xfea\x00:\x00",
		"anchors":                strings.Repeat("a: &a\n", 9999),
		"tags":                   strings.Repeat("!!a ", 9999),
		"itself":                 "a: &a [*a]\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := processorTime(t)
			_, err := policy.Parse("policy.yaml", []byte(text), policy.Options{})
			if err == nil {
				t.Error("no error")
			}
			if took := processorTime(t) - start; took > 3*time.Second {
				t.Errorf("took %s of a processor", took)
			}
			if err != nil && len(err.Error()) > 100_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// processorTime is what this process has used: a machine that is busy with
// something else makes no text hostile.
func processorTime(t *testing.T) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func deepKeys(depth int) string {
	var b strings.Builder
	for i := 0; i < depth && b.Len() < 1<<20; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestLoadRefusesWhatIsNoRegularFile(t *testing.T) {
	for _, name := range []string{"/dev/zero", t.TempDir(), "/nowhere/policy.yaml"} {
		if p, err := policy.Load(name, policy.Options{}); err == nil || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
