package main

import "testing"

// Who uses a command wrongly hears how it is used, and has not succeeded.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"run"}, "sandbox run was called without an argument; it is sandbox run FILE [flags]"},
		{[]string{"diff", "a"}, "sandbox diff was called with a; it is sandbox diff BEFORE AFTER [flags]"},
		{[]string{"ctl", "stop", "greeter"}, "sandbox ctl stop was called with greeter; it is sandbox ctl stop APPLICATION COMPONENT [flags]"},
		{[]string{"ctl", "halt", "greeter", "web"}, "sandbox ctl cannot halt; it can destroy, freeze, pin, release, reload, restart, signal, start, stop, thaw, unpin"},
		{[]string{"run", "--foo", "a"}, "unknown flag: --foo; sandbox run --help lists the flags"},
		{[]string{"init"}, "name a program, or a unit with --from-unit"},
	} {
		command := root()
		command.SetArgs(c.arguments)
		if err := command.Execute(); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.arguments, err, c.want)
		}
	}
}
