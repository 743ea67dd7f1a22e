package main

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Who follows a directory without a policy hears that it is followed.
func TestUpOfNothing(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	before := os.Stderr
	os.Stderr = write
	directory := t.TempDir()
	stop := make(chan os.Signal, 1)
	stop <- unix.SIGTERM
	f := &follower{directory: directory, kept: map[string]*upkeep{}, events: make(chan func())}
	err = f.run(nil, stop)
	os.Stderr = before
	write.Close()
	text, _ := io.ReadAll(read)
	if want := "sandbox: there is no *.yaml in " + directory + " yet; what is put there is run\n"; err != nil || string(text) != want {
		t.Errorf("%v, %q, want %q", err, text, want)
	}
}
