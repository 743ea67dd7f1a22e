// Sandbox-supervisor is the unprivileged half of a broker. The monitor starts
// it; it is of no use to anybody else.
package main

import (
	"os"

	"bulkhead/broker/supervisor"
)

func main() { os.Exit(supervisor.Run()) }
