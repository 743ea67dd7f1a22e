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
		{[]string{"run", "--ready-fd", "a", "b"}, `invalid argument "a" for "--ready-fd" flag: invalid syntax; sandbox run --help lists the flags`},
		{[]string{"run", "--ready-fd", "-5", "b"}, "--ready-fd -5: a descriptor is a number from 0 on"},
		{[]string{"rnu", "--set", "a=b", "c"}, "there is no command sandbox rnu (there is run); sandbox --help lists them all"},
		{[]string{"make-it-so"}, "there is no command sandbox make-it-so; sandbox --help lists them all"},
		{[]string{"up", "/proc/version"}, "follow the policies in a directory: open /proc/version: not a directory; sandbox up DIRECTORY follows all in it, sandbox run FILE runs one"},
		{[]string{"reload", "not-there.yaml"}, "not-there.yaml: it does not exist\n    name a policy file that can be read"},
		{[]string{"inspect", "usage_test.go"}, `application "usage_test.go" does not run; that is a file: an application has the name that stands behind application: in its policy`},
		{[]string{"init"}, "name a program, or a unit with --from-unit"},
	} {
		if err := execute(root(), c.arguments); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.arguments, err, c.want)
		}
	}
}
