package main

import (
	"slices"
	"testing"

	"bulkhead/broker/control"
)

func TestInOrder(t *testing.T) {
	all := []control.Component{
		{Name: "web", Start: "with-application", State: control.Running, After: []string{"cache", "db"}},
		{Name: "decode", Start: "per-request", State: control.Running},
		{Name: "cache", Start: "with-application", State: control.Started, After: []string{"db"}},
		{Name: "db", Start: "with-application", State: control.Running},
		{Name: "down", Start: "with-application", State: control.Stopped},
		{Name: "lazy", Start: "on-demand", State: control.Running},
		{Name: "supervisor", Start: "with-application", State: control.Running},
	}
	for _, c := range []struct{ names, want []string }{
		{nil, []string{"db", "cache", "web", "lazy"}},
		{[]string{"web", "db"}, []string{"db", "web"}},
		{[]string{"down", "web"}, []string{"web", "down"}},
	} {
		if got, err := inOrder(all, c.names); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v, want %q", c.names, got, err, c.want)
		}
	}
	if _, err := inOrder(all, []string{"web", "nobody"}); err == nil {
		t.Error("a component that is none is accepted")
	}
}
