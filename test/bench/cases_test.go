package main

import (
	"slices"
	"testing"
)

func TestEveryLineSaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range table {
		if seen[c.String()] {
			t.Errorf("%s stands in the table twice", c)
		}
		seen[c.String()] = true
		if c.isolation == "" {
			t.Errorf("%s has no isolation note", c)
		}
		c.baseline() // panics when the group names a case that is not there
	}
}

func TestOnlyBringsTheBaselineAlong(t *testing.T) {
	chosen, err := choose("echo service with a program for each connection, on loopback: xinetd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range chosen {
		names = append(names, c.name)
	}
	if want := []string{connection.baseline, "xinetd"}; !slices.Equal(names, want) {
		t.Errorf("chosen %q, want %q", names, want)
	}
	if _, err := choose("no such case"); err == nil {
		t.Error("a pattern that matches nothing was accepted")
	}
}

func TestFilterHasSixtyRules(t *testing.T) {
	names, err := filterNames()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != 60 {
		t.Errorf("the filter has %d different calls, the table says 60", n)
	}
}
