package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever is left behind in a group of cgroup v2 keeps its controllers from what is
// made beneath it: the launcher's children leave it with the launcher.
func TestChildrenLeaveToo(t *testing.T) {
	own, err := groupOf("self")
	if err != nil {
		t.Skip(err) // cgroup v1 alone
	}
	unified := t.TempDir()
	leaf := filepath.Join(unified, own, "broker")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		t.Fatal(err)
	}
	// Who is moved is written there, one after the other.
	procs := filepath.Join(leaf, "cgroup.procs")
	if err := unix.Mkfifo(procs, 0o600); err != nil {
		t.Fatal(err)
	}
	moved, err := os.OpenFile(procs, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if err := (Hierarchy{Unified: unified}).Leave(own, 1000001); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 100)
	n, err := moved.Read(text)
	if want := fmt.Sprintf("%d%d", 1000001, os.Getpid()); err != nil || string(text[:n]) != want {
		t.Errorf("moved were %q, %v, not %q", text[:n], err, want)
	}
}
