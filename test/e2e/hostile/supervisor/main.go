// Command supervisor is hostile code in the supervisor's place.
package main

import (
	"os"

	"bulkhead/test/e2e/hostile"
)

func main() { os.Exit(hostile.Supervisor()) }
