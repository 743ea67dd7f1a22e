package life

import (
	"strconv"
	"strings"
	"testing"
)

// TestTop: a component that computes in a child and one that sleeps.
func TestTop(t *testing.T) {
	a := New(t, "top").Run(`application: {{NAME}}
components:
  busy: { {{SH}} "(while true; do true; done) & wait"] }
  idle: { {{SH}} "exec sleep 1000"] }
`)
	a.Expect("up after")
	text := a.Sandbox("top", "-n", "1", "--interval", "1s", a.Name)
	percent := map[string]int{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[0] == a.Name {
			percent[fields[1]], _ = strconv.Atoi(strings.TrimSuffix(fields[3], "%"))
		}
	}
	// How much there is for one that computes is the machine's other business.
	if len(percent) != 3 || percent["busy"] <= percent["idle"] {
		t.Errorf("top says\n%s", text)
	}
}
