package e2e

import (
	"flag"
	"os"
	"testing"

	"bulkhead/test/e2e/hostile"
	"bulkhead/test/e2e/injector"
	"bulkhead/test/e2e/program"
	"bulkhead/test/hangup"
)

// TestMain plays a component when that is how this binary was started.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "program":
			os.Exit(program.Main(os.Args[2:]))
		case "inject":
			os.Exit(hostile.Inject(os.Args[2:]))
		case "injector":
			os.Exit(injector.Main(os.Args[2:]))
		case "hostile":
			os.Exit(hostile.Main(os.Args[2:]))
		}
	}
	flag.Parse()
	hangup.Restore()
	status := m.Run()
	theSite.remove()
	os.Exit(status)
}
