package main

import (
	"fmt"
	"strings"

	"bulkhead/broker/inspect"
)

// lineDiff shows how a text changes, as diff -u does but with all of it: it is
// for short files.
func lineDiff(name, before, after string, paint inspect.Paint) string {
	var b strings.Builder
	from := name
	if before == "" {
		from = "/dev/null"
	}
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", from, name)
	old, current := lines(before), lines(after)
	// common[i][k] is how many lines the ends from i and k on have in common.
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(current)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for k := len(current) - 1; k >= 0; k-- {
			if common[i][k] = max(common[i+1][k], common[i][k+1]); old[i] == current[k] {
				common[i][k] = common[i+1][k+1] + 1
			}
		}
	}
	for i, k := 0, 0; i < len(old) || k < len(current); {
		switch {
		case i < len(old) && k < len(current) && old[i] == current[k]:
			fmt.Fprintf(&b, " %s\n", inspect.Printable(old[i]))
			i, k = i+1, k+1
		case k == len(current) || i < len(old) && common[i+1][k] >= common[i][k+1]:
			b.WriteString(paint.Bad("-"+inspect.Printable(old[i])) + "\n")
			i++
		default:
			b.WriteString(paint.Good("+"+inspect.Printable(current[k])) + "\n")
			k++
		}
	}
	return b.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
