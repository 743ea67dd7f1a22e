// Sandbox-builder builds compartments, with libcontainer. The launcher and the
// monitor start it; it is of no use to anybody else.
package main

import (
	"os"

	"bulkhead/broker/build"
)

func main() { os.Exit(build.Run(os.Args[1:])) }
