// Package c tests the C client against the peer, compiled as C and as C++.
package c

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/broker/client/internal/peer"
)

// languages are the oldest standards that the header promises to work in.
var languages = []struct {
	name    string
	command []string
}{
	{"C", []string{"gcc", "-std=gnu99", "-Wstrict-prototypes"}},
	{"C++", []string{"g++", "-std=c++11", "-x", "c++"}},
}

// build compiles a program that includes the header. The files are read here
// too, so that the cache of go test notices a change.
func build(t *testing.T, command []string, source string) string {
	t.Helper()
	for _, name := range []string{"bulkhead.h", source} {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "program")
	arguments := append(command[1:len(command):len(command)],
		"-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover",
		"-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror", "-o", program, source)
	peer.Build(t, command[0], arguments...)
	return program
}

func TestClient(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			program := build(t, l.command, "testdata/bulkhead_test.c")
			names, err := exec.CommandContext(t.Context(), program).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range append(strings.Fields(string(names)), peer.Bad()...) {
				t.Run(name, func(t *testing.T) { peer.Run(t, nil, program, name) })
			}
		})
	}
}

func TestExample(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			got := peer.Run(t, nil, build(t, l.command, "examples/example.c"), "store", "greeting", "upper")
			if got != peer.ExampleOutput {
				t.Errorf("the example printed %q, not %q", got, peer.ExampleOutput)
			}
		})
	}
}
