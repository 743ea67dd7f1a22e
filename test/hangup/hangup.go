// Package hangup lets tests hang up on what they start.
package hangup

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Restore gives what this process starts from now on the default actions for SIGHUP and
// SIGINT, which whoever started the tests by nohup(1) or a shell's & had taken from
// it: a child inherits what is ignored, not what is caught (signal(7)).
func Restore() {
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}
