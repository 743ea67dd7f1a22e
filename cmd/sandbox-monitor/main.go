// Command sandbox-monitor is the monitor of a running application; sandbox run
// becomes it. It is of no use alone.
package main

import (
	"os"

	"bulkhead/broker/monitor"
)

func main() {
	status, err := monitor.Run()
	if err != nil {
		os.Stderr.WriteString("sandbox: monitor: " + err.Error() + "\n")
	}
	os.Exit(status)
}
