package life

import (
	"os"
	"testing"

	"bulkhead/test/hangup"
)

func TestMain(m *testing.M) {
	hangup.Restore()
	os.Exit(m.Run())
}
