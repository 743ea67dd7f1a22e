// Package outcome says what came of a call, for the lines by which the programs of
// the tests tell theirs.
package outcome

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Of is "ok", the name of an errno, or what else the error says.
func Of(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}
