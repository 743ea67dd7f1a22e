package policy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/plan"
)

// FuzzPolicy: no text makes the compiler panic or think for long, every mistake
// points into the text, and whatever compiles keeps the rules that no policy
// can break.
func FuzzPolicy(f *testing.F) {
	for _, pattern := range []string{"testdata/mistakes/*.yaml", "testdata/plans/*.yaml", "testdata/diff/*.yaml", "testdata/lint/*.yaml", "../profiles/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	host := hosttest.New()
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "include") || strings.Contains(string(text), ".yaml") || strings.Contains(string(text), "/dev/") {
			return // the text must not lead to files of the machine
		}
		start := time.Now()
		p, err := policy.Parse("fuzz.yaml", text, policy.Options{})
		if p == nil && err == nil {
			t.Fatal("neither a policy nor an error")
		}
		checkPositions(t, text, err)
		if p != nil {
			result, _, err := policy.Compile(p, host)
			checkPositions(t, text, err)
			if err == nil {
				checkPlan(t, p, result)
			}
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func checkPositions(t *testing.T, text []byte, err error) {
	if err == nil {
		return
	}
	problems, ok := err.(*policy.Problems)
	if !ok || len(problems.List) == 0 {
		t.Fatalf("the error is no list of problems: %v", err)
	}
	lines := bytes.Count(text, []byte("\n")) + 1
	for _, p := range problems.List {
		if p.Message == "" || p.Warning {
			t.Errorf("%+v", p)
		}
		if p.Position.File == "fuzz.yaml" && (p.Position.Line > lines+1 || p.Position.Line < 0) {
			t.Errorf("line %d of %d: %s", p.Position.Line, lines, p.Message)
		}
		if strings.ContainsRune(p.Render(false), 0x1b) {
			t.Errorf("an escape sequence reaches the terminal: %q", p.Render(false))
		}
	}
}

func checkPlan(t *testing.T, p *policy.Policy, result *plan.Plan) {
	for i := range result.Components {
		c := &result.Components[i]
		if c.Program == "" || len(c.Arguments) == 0 || c.Start == 0 || c.Proc == 0 || c.Life.Restart == 0 || c.Life.Ready.Kind == 0 || c.Workers.Maximum < 1 {
			t.Errorf("%s is not complete: %+v", c.Name, c)
		}
		for _, e := range c.Root {
			if e.Access&plan.Write != 0 && e.Access&plan.Execute != 0 {
				t.Errorf("%s may write and execute %s", c.Name, e.Target)
			}
			if !strings.HasPrefix(e.Target, "/") || e.Target == "/" || e.Reason == "" {
				t.Errorf("%s has the entry %+v", c.Name, e)
			}
		}
		if c.Syscalls.Default != plan.Refuse {
			t.Errorf("%s allows what it does not name", c.Name)
		}
		for _, r := range c.Syscalls.Rules {
			allowed := r.Action == plan.Allow || r.Action == plan.Broker
			if allowed && (r.Call == "clone3" || strings.HasPrefix(r.Call, "io_uring") || r.Call == "ioctl" && len(r.Conditions) == 0) {
				t.Errorf("%s may call %s", c.Name, r.Call)
			}
		}
		for _, b := range c.Grants {
			if result.Grants[b.Grant].Kind == plan.GrantDirectory && b.Number >= 0 {
				t.Errorf("%s gets a descriptor of a directory", c.Name)
			}
		}
	}
	var b bytes.Buffer
	if err := policy.Explain(&b, p, result, ""); err != nil {
		t.Error(err)
	}
	policy.Lint(p, result)
}
