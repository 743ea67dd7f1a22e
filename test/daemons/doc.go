// Package daemons runs Debian's daemons from the ready profiles, speaks their
// own protocols to them, and tries from inside their compartments what they
// must not be able to do. It needs root, bin/sandbox (make build) and the
// Debian packages of packages.txt (make setup-test).
package daemons
