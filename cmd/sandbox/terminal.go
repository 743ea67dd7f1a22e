package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// colors says whether to write colours to a file: to terminals only, and not
// where NO_COLOR is set (no-color.org).
func colors(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	return terminal(f)
}

// terminal says whether a file is one.
func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
