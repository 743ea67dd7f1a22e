package policy_test

import (
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/policy/plan"
	"bulkhead/test/golden"
)

// check loads and compiles a file on the host for tests.
func check(path string, host policy.Host, set ...string) (*policy.Policy, *plan.Plan, []policy.Problem, error) {
	p, err := policy.Load(path, policy.Options{Set: set})
	if p == nil {
		return nil, nil, nil, err
	}
	compiled, warnings, err := policy.Compile(p, host)
	return p, compiled, warnings, err
}

func rendered(warnings []policy.Problem, err error) string {
	var b strings.Builder
	for _, w := range warnings {
		b.WriteString(w.Render(false))
	}
	if err != nil {
		b.WriteString(err.Error() + "\n")
	}
	return b.String()
}

// TestMistakes: each file in testdata/mistakes says in its first line what is
// wrong with it.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 {
		t.Errorf("only %d kinds of mistakes are tried", len(files))
	}
	messages := map[string]string{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, _, warnings, err := check(file, hosttest.New())
			text := rendered(warnings, err)
			if text == "" {
				t.Fatal("nothing is wrong with it")
			}
			golden.Expect(t, strings.TrimSuffix(file, ".yaml")+".golden", text)
			if other, known := messages[text]; known {
				t.Errorf("the same text as %s", other)
			}
			messages[text] = file
		})
	}
}
