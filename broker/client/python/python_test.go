// Package python tests the Python client against the peer.
package python

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"bulkhead/broker/client/internal/peer"
)

// interpreter is Debian's: it is the one that policies name.
const interpreter = "/usr/bin/python3"

// watch reads what the interpreter will read, so that the cache of go test
// notices a change.
func watch(t *testing.T, files ...string) {
	t.Helper()
	for _, name := range files {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClient(t *testing.T) {
	watch(t, "bulkhead.py", "bulkhead_test.py")
	list := exec.Command(interpreter, "bulkhead_test.py")
	list.Env = append(list.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(strings.Fields(string(names)), peer.Bad()...) {
		t.Run(name, func(t *testing.T) {
			peer.Run(t, []string{"PYTHONDONTWRITEBYTECODE=1"}, interpreter, "-W", "error", "bulkhead_test.py", name)
		})
	}
}

func TestExample(t *testing.T) {
	watch(t, "bulkhead.py", "examples/example.py")
	got := peer.Run(t, []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=."}, interpreter,
		"examples/example.py", "store", "greeting", "upper")
	if got != peer.ExampleOutput {
		t.Errorf("the example printed %q, not %q", got, peer.ExampleOutput)
	}
}
