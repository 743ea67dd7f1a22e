package e2e

import (
	"flag"
	"os"
	"testing"

	"bulkhead/test/e2e/hostile"
	"bulkhead/test/e2e/program"
)

var (
	binDirectory = flag.String("bin", "../../bin", "the `directory` that make build fills")
	faultCount   = flag.Int("faults", 0, "how many random faults TestRandomFaults makes; 0 is the usual number")
	faultSeed    = flag.Uint64("seed", 1, "what the random faults follow from")
)

// TestMain plays a component when that is how this binary was started.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "program":
			os.Exit(program.Main(os.Args[2:]))
		case "hostile":
			os.Exit(hostile.Main(os.Args[2:]))
		}
	}
	flag.Parse()
	status := m.Run()
	theSite.remove()
	os.Exit(status)
}
