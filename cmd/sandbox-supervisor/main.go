// Sandbox-supervisor is the unprivileged half of a broker. The monitor starts
// it; it is of no use to anybody else.
package main

import (
	"os"

	"bulkhead/broker/resolver"
	"bulkhead/broker/supervisor"
)

func main() {
	// The program of another component of Bulkhead's own, which shares nothing
	// with the supervisor but the file.
	if len(os.Args) > 1 && os.Args[1] == "resolve" {
		os.Exit(resolver.Run(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "successor" {
		os.Exit(supervisor.RunSuccessor())
	}
	os.Exit(supervisor.Run())
}
