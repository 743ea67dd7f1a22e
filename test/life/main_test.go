package life

import (
	"flag"
	"os"
	"testing"

	"bulkhead/test/hangup"
)

func init() {
	flag.DurationVar(&Patience, "patience", Patience, "how long what must come about by itself may take; a machine that is emulated takes longer")
}

func TestMain(m *testing.M) {
	hangup.Restore()
	os.Exit(m.Run())
}
