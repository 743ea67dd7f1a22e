// Package docs tests the documentation: that links lead somewhere, that policies
// compile, that commands print what the pages say, and that what is listed is
// what is there. There is nothing in it but tests.
//
// In the pages,
//
//	```yaml             a whole policy (application: and components:) compiles on
//	                    this machine, without a mistake
//	```console run      its commands, the lines that begin with "# ", are run as
//	                    root, and what they print is compared; see console_test.go
//
// A policy that begins with the comment "# NAME.yaml" is there under that name
// for the page's commands. docs/policy.md has tests of its own, in package
// policy: its policies are for a made-up machine.
package docs
