package policy_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"bulkhead/policy"
	"bulkhead/policy/hosttest"
	"bulkhead/test/golden"
)

const reference = "../docs/policy.md"

// TestDocsTablesAreCurrent: the tables of the reference are those of the types.
func TestDocsTablesAreCurrent(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	current := string(text)
	for _, part := range policy.ReferenceParts() {
		var table bytes.Buffer
		if err := policy.WriteReference(&table, part); err != nil {
			t.Fatal(err)
		}
		begin, end := "<!-- begin "+part+" -->\n", "<!-- end "+part+" -->"
		before, rest, found := strings.Cut(current, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Errorf("the reference has no place for the table %q", part)
			continue
		}
		current = before + begin + table.String() + end + after
	}
	golden.Expect(t, reference, current)
}

var fence = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

// TestDocsExamplesRun: every example is a policy that compiles, or shows the
// mistakes that stand below it.
func TestDocsExamplesRun(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	examples, mistake := 0, ""
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		switch block[1] {
		case "yaml":
			examples++
			if _, err := parsed(t, block[2], hosttest.New()); err != nil {
				t.Errorf("%s\n%v", block[2], err)
			}
		case "yaml mistake":
			_, err := parsed(t, block[2], hosttest.New())
			if err == nil {
				t.Fatalf("nothing is wrong with\n%s", block[2])
			}
			mistake = err.Error() + "\n"
		case "text":
			if block[2] != mistake {
				t.Errorf("the mistakes are\n%s", mistake)
			}
		default:
			t.Errorf("a block of the kind %q", block[1])
		}
	}
	if examples < 8 {
		t.Errorf("only %d examples were found", examples)
	}
}
