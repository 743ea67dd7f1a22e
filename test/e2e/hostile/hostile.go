// Package hostile is what components do in these tests when they are not
// honest. Each line of output is one fact that a test compares.
package hostile

import "fmt"

var verbs = map[string]func([]string) int{}

// Main runs a verb and returns the exit status.
func Main(arguments []string) int {
	if len(arguments) == 0 || verbs[arguments[0]] == nil {
		fmt.Println("unknown verb:", arguments)
		return 99
	}
	return verbs[arguments[0]](arguments[1:])
}
