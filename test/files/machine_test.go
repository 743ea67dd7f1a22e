package files

import (
	"time"
)

// await tries until something is so.
func (s *site) await(what string, so func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(*patience / 2); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if so() {
			return
		}
	}
	s.t.Errorf("%s does not come", what)
}
