package policy_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	compiledplan "bulkhead/policy/plan"
	"bulkhead/test/golden"
)

// TestPlans: what a policy means, in the words of explain, in JSON and as
// rules of the filter.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/plans/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no plans", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			p, plan, warnings, err := check(file, hosttest.New())
			if err != nil {
				t.Fatalf("\n%v", err)
			}
			var words, text, filter bytes.Buffer
			words.WriteString(rendered(warnings, nil))
			if err := policy.Explain(&words, p, plan, ""); err != nil {
				t.Fatal(err)
			}
			golden.Expect(t, name+".explain.golden", words.String())
			if err := policy.ExplainJSON(&text, p, plan, ""); err != nil {
				t.Fatal(err)
			}
			golden.Expect(t, name+".json.golden", text.String())
			if err := policy.ExplainFilter(&filter, plan, ""); err != nil {
				t.Fatal(err)
			}
			golden.Expect(t, name+".filter.golden", filter.String())
			encoded, err := compiledplan.Encode(plan)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := compiledplan.Decode[compiledplan.Plan](encoded)
			if err != nil || !reflect.DeepEqual(decoded, plan) {
				t.Errorf("the monitor would read another plan: %v", err)
			}
			for _, output := range []string{words.String(), text.String()} {
				if strings.Contains(output, "hunter2") {
					t.Error("explain shows a secret")
				}
			}
		})
	}
}

func TestExplainNamesTheComponentsThatExist(t *testing.T) {
	p, plan, _, err := check("testdata/plans/thumbnailer.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = policy.Explain(&b, p, plan, "decod")
	if err == nil || !strings.Contains(err.Error(), `"decode"`) {
		t.Errorf("got %v", err)
	}
}

func TestDiff(t *testing.T) {
	before, beforePlan, _, err := check("testdata/diff/before.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	after, afterPlan, _, err := check("testdata/diff/after.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	difference := policy.Diff(before, beforePlan, after, afterPlan)
	var b bytes.Buffer
	if err := difference.Write(&b); err != nil {
		t.Fatal(err)
	}
	golden.Expect(t, "testdata/diff/words.golden", b.String())

	same := policy.Diff(after, afterPlan, after, afterPlan)
	if len(same.Gained)+len(same.Lost) > 0 {
		t.Errorf("a policy differs from itself: %+v", same)
	}
	back := policy.Diff(after, afterPlan, before, beforePlan)
	if len(back.Gained) != len(difference.Lost) || len(back.Lost) != len(difference.Gained) {
		t.Errorf("there %d gained and %d lost, back %d and %d", len(difference.Gained), len(difference.Lost), len(back.Gained), len(back.Lost))
	}
}

func TestDiffOfAWholeComponent(t *testing.T) {
	before, beforePlan, _, err := check("testdata/diff/before.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	after, afterPlan, _, err := check("testdata/diff/after.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	difference := policy.Diff(after, afterPlan, before, beforePlan)
	var words, text bytes.Buffer
	if err := difference.Write(&words); err != nil {
		t.Fatal(err)
	}
	golden.Expect(t, "testdata/diff/back.golden", words.String())
	if err := difference.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var decoded policy.Difference
	if err := json.Unmarshal(text.Bytes(), &decoded); err != nil || len(decoded.Gained) != len(difference.Gained) || len(decoded.Added) != 1 {
		t.Errorf("the JSON says something else: %v", err)
	}
}

// TestDiffOfNarrowedCalls: a call that is left for some of its arguments only is
// lost, and nothing about it is gained.
func TestDiffOfNarrowedCalls(t *testing.T) {
	whole, wholePlan, _, err := check("testdata/diff/whole.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	narrowed, narrowedPlan, _, err := check("testdata/diff/narrowed.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	var there, back bytes.Buffer
	if err := policy.Diff(whole, wholePlan, narrowed, narrowedPlan).Write(&there); err != nil {
		t.Fatal(err)
	}
	if err := policy.Diff(narrowed, narrowedPlan, whole, wholePlan).Write(&back); err != nil {
		t.Fatal(err)
	}
	if want := "lost\n    - web: may call open but in 3 cases of its arguments, openat but in 3 cases of its arguments, openat2, truncate\n"; there.String() != want {
		t.Errorf("narrowed: %s", there.String())
	}
	if want := "gained\n    + web: may call open, openat, openat2, truncate\n"; back.String() != want {
		t.Errorf("widened again: %s", back.String())
	}
}

func TestLint(t *testing.T) {
	p, plan, _, err := check("testdata/lint/wide.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	findings := policy.Lint(p, plan)
	var b bytes.Buffer
	if err := policy.WriteFindings(&b, findings, false); err != nil {
		t.Fatal(err)
	}
	golden.Expect(t, "testdata/lint/wide.golden", b.String())
	seen := map[string]bool{}
	for _, f := range findings {
		seen[f.Rule] = true
	}
	for _, rule := range policy.LintRules() {
		// The policy of this test lies in no directory of the test's host.
		if !seen[rule[0]] && rule[0] != "policy-writable" {
			t.Errorf("nothing in wide.yaml shows the rule %s", rule[0])
		}
	}
}

func TestLintIsQuietOnATightPolicy(t *testing.T) {
	p, plan, _, err := check("testdata/plans/thumbnailer.yaml", hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range policy.Lint(p, plan) {
		t.Errorf("%s", f.Problem.Render(false))
	}
}

func TestLintFindsThePolicyInAWritableDirectory(t *testing.T) {
	p, err := policy.Parse("/srv/thumbs/policy.yaml", []byte("application: a\ngrants: {s: {directory: /srv/thumbs, access: read-write}}\ncomponents: {web: {command: [/usr/bin/static], grants: [s]}}\n"), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plan, _, err := policy.Compile(p, hosttest.New())
	if err != nil {
		t.Fatal(err)
	}
	if findings := policy.Lint(p, plan); len(findings) != 1 || findings[0].Rule != "policy-writable" {
		t.Errorf("got %+v", findings)
	}
}
