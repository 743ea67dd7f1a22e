package supervisor

import (
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

func TestEndInWords(t *testing.T) {
	for _, c := range []struct {
		end    end
		text   string
		status int
	}{
		{end{how: wire.Exited}, "exited with status 0", 0},
		{end{how: wire.Exited, code: 3}, "exited with status 3", 3},
		{end{how: wire.Signaled, code: 11}, "killed by SIGSEGV", 139},
		{end{how: wire.Signaled, code: 11, reason: "killed by SIGSEGV"}, "killed by SIGSEGV", 139},
		{end{how: wire.Signaled, code: 9, reason: "memory limit of 64M reached"}, "memory limit of 64M reached", 137},
		{end{how: wire.Signaled, code: 40}, "killed by signal 40", 168},
		{end{how: wire.Exited, code: 1, reason: "was not ready within 5s", never: true}, "was not ready within 5s (exited with status 1)", 1},
		{end{how: wire.NotRun, code: uint32(unix.ENOENT), step: executeStep}, "execute the program: no such file or directory", 127},
		{end{how: wire.NotRun, code: uint32(unix.EACCES), step: executeStep}, "execute the program: permission denied", 126},
		{end{how: wire.NotRun, code: uint32(unix.EACCES), step: "set the user"}, "set the user: permission denied", 125},
		{end{how: wire.NotRun, code: uint32(unix.ECANCELED), step: "run its program: memory limit of 1K reached"}, "run its program: memory limit of 1K reached", 125},
		{end{how: wire.NotRun, code: uint32(unix.EIO), step: "start a worker", reason: "its init is gone"}, "start a worker: its init is gone", 125},
	} {
		if got := c.end.String(); got != c.text {
			t.Errorf("%+v: %q, want %q", c.end, got, c.text)
		}
		if got := c.end.status(); got != c.status {
			t.Errorf("%+v: status %d", c.end, got)
		}
	}
}
