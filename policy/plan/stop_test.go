package plan

import (
	"testing"
	"time"
)

func TestStopTime(t *testing.T) {
	life := func(stop time.Duration, after ...string) Life { return Life{StopTimeout: stop, After: after} }
	tidies := life(time.Second, "base")
	tidies.Finish = Finish{Command: []string{"/bin/true"}, Timeout: 20 * time.Second}
	base := Component{Name: "base", Life: life(10 * time.Second)}
	for _, c := range []struct {
		what       string
		components []Component
		want       time.Duration
	}{
		{"nothing", nil, 0},
		{"side by side", []Component{base, {Name: "other", Life: life(3 * time.Second)}}, 11 * time.Second},
		{"one after the other", []Component{{Name: "top", Life: life(3*time.Second, "base")}, base}, 15 * time.Second},
		{"on demand", []Component{{Name: "top", Start: OnDemand, Life: life(3*time.Second, "base")}, base}, 15 * time.Second},
		{"a finish command", []Component{base, {Name: "tidies", Life: tidies}}, 33 * time.Second},
		{"connections come last", []Component{base, {Name: "each", Start: PerConnection, Life: life(4 * time.Second)}}, 16 * time.Second},
		{"whoever asked ends them", []Component{base, {Name: "each", Start: PerRequest, Life: life(time.Hour)}}, 11 * time.Second},
		{"a circle", []Component{{Name: "a", Life: life(time.Second, "b")}, {Name: "b", Life: life(time.Second, "a")}}, 4 * time.Second},
	} {
		for i := range c.components {
			if c.components[i].Start == 0 {
				c.components[i].Start = WithApplication
			}
		}
		if got := (&Plan{Components: c.components}).StopTime(); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
