package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A program that cannot be executed is named once, with what to do.
func TestNoProgram(t *testing.T) {
	here := t.TempDir()
	t.Setenv("PATH", here)
	text := filepath.Join(here, "text")
	if err := os.WriteFile(text, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"not-there":            "it is in no directory of PATH; install it, or name its path",
		here + "/not-there":    "it does not exist; correct the path",
		here:                   "it is a directory; name a program in it",
		text:                   "you may not execute it; chmod +x lets you, if it is a program",
		text + "/below-a-file": "not a directory",
	} {
		if _, err := exec.LookPath(name); err == nil || whyNoProgram(err).Error() != want {
			t.Errorf("%s: %v, want %s", name, whyNoProgram(err), want)
		}
	}
}
