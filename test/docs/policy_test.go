package docs

import (
	"fmt"
	"regexp"
	"testing"

	"bulkhead/policy"
)

var wholePolicy = regexp.MustCompile(`(?ms)^application:.*^components:`)

// TestPolicies: every whole policy in a page compiles on this machine.
func TestPolicies(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		if p.path == "docs/policy.md" {
			continue // tested in package policy, against a made-up machine
		}
		for _, b := range p.blocks {
			if b.kind != "yaml" || !wholePolicy.MatchString(b.text) {
				continue
			}
			found++
			name := fmt.Sprintf("%s:%d", p.path, b.line)
			loaded, err := policy.Parse(name, []byte(b.text), policy.Options{})
			if err == nil {
				_, _, err = policy.Compile(loaded, policy.LocalHost())
			}
			if err != nil {
				t.Errorf("%v", err)
			}
		}
	}
	if found == 0 {
		t.Error("no policy was found: the pages have changed their shape")
	}
}
