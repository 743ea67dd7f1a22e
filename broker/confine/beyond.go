package confine

import (
	"slices"
	"strings"

	"bulkhead/policy/plan"
)

// Beyond names what the monitor of one plan would need beside what that of
// another has, "" when that is nothing. A monitor gets nothing back that it has
// given up, so such a plan takes a new one.
func Beyond(now, next *plan.Plan) string {
	var names []string
	has := Mask(Capabilities(now))
	for _, c := range Capabilities(next) {
		if has&(1<<c.Number) == 0 {
			names = append(names, c.Name)
		}
	}
	rules := map[string]bool{}
	for _, r := range Filter(now, 0).Rules {
		rules[r.Call] = true
	}
	for _, r := range Filter(next, 0).Rules {
		if !rules[r.Call] && !slices.Contains(names, r.Call) {
			names = append(names, r.Call)
		}
	}
	return strings.Join(names, ", ")
}
